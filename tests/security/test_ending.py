"""How the app ends, asked to or not, while it works; and what the next one finds."""

from __future__ import annotations

import http.client
import itertools
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nls_core.web.bench.process import BROKEN, multipart
from tests.conftest import TINY, picture_bytes
from tests.security.served import API, Answer, Form, Served, serving

WORKS = 16  # NLS_MAX_QUEUE
SECONDS = 10  # in which a process that is asked to end has ended; 7 at most on an idle machine
SEEDS = itertools.count()


def work(app: Served, answers: list[Answer]) -> threading.Thread:
    """Ask for what takes a second or so, and has not been asked for before."""
    form: Form = {"image": ("a.png", picture_bytes()), "models": ",".join(TINY), "steps": "100"}
    form |= {"epsilons": ",".join(str(n / 1e6) for n in range(1, 17)), "seed": str(next(SEEDS))}

    def ask() -> None:
        try:
            answers.append(app.ask("POST", "/api/v1/analyze", *multipart(form), timeout=60))
        except OSError:
            answers.append(Answer(BROKEN, {}, b""))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@contextmanager
def listening(app: Served) -> Iterator[None]:
    """An open page's event stream."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=60)
    connection.request("GET", f"{API}/heartbeat/abc")
    with connection.getresponse() as stream:
        assert stream.status == 200
        yield
    connection.close()


def wait_for_works(app: Served, count: int) -> None:
    for _ in range(600):
        if f"nls_queue_in_use {count}.0" in app.ask("GET", "/metrics").text:
            return
        time.sleep(0.02)
    raise AssertionError(f"expected {count} works in the queue")


def test_killed_and_started_again_then_stopped(models_dir: Path, tmp_path: Path) -> None:
    settings = {"NLS_MODELS_DIR": str(models_dir), "NLS_DEVICE": "cpu"}
    with serving(tmp_path, **settings) as first:
        path = first.upload(picture_bytes()).json()[0]
        lost: list[Answer] = []
        thread = work(first, lost)
        wait_for_works(first, 1)
        with listening(first):
            first.process.kill()
            first.process.wait()
        thread.join()
        assert [answer.status for answer in lost] == [BROKEN]
    # the same port and folder; what was uploaded is there until it is old
    with serving(tmp_path, **settings, NLS_PORT=str(first.port)) as app:
        assert app.ask("GET", "/readyz").json()["status"] == "ready"
        assert app.ask("GET", f"{API}/file={path}").body == picture_bytes()
        stop_while_it_works(app)


def stop_while_it_works(app: Served) -> None:
    answers: list[Answer] = []
    threads = [work(app, answers) for _ in range(WORKS)]
    wait_for_works(app, WORKS)
    with listening(app):
        done, begin = len(answers), time.monotonic()
        app.process.send_signal(signal.SIGTERM)
        assert app.process.wait(60) == -signal.SIGTERM
        assert time.monotonic() - begin < SECONDS
    for thread in threads:
        thread.join()
    statuses = [answer.status for answer in answers]
    assert len(statuses) == WORKS
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > done  # what ends in time is answered
    for answer in answers:
        assert answer.status == 200 or int(answer.headers["retry-after"]) > 0
    assert not any(line["event"] == "crashed" for line in app.lines())
