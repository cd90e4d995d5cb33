"""`nls soak` in short, what makes it fail, and requests beyond what can be answered."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nls_core.decode import decode_image
from nls_core.errors import ImageRejected, TooLarge
from nls_core.web.bench import load, overload, soak, traffic
from nls_core.web.bench.process import BROKEN, Answer, Site
from tests.conftest import TINY
from tests.helpers.command import Nls
from tests.security import corpus
from tests.security.served import Served

VISITS = 150


def test_nothing_breaks_and_no_hook_stays(served: Served) -> None:
    hostile = [data for _, data in corpus.hostile()][::10]
    ended: list[int] = []
    found = soak.run(
        Site(served.port), VISITS, hostile=hostile, most_mb=200, settle=0.1, done=ended.append
    )
    assert found.failures == []
    assert ended == [*range(1, VISITS + 1)]
    assert {"analyze", "hostile", "page", "read", "wrong"} <= set(found.answers)
    assert found.answers["analyze"]["200"] > VISITS / 4
    assert found.answers["hostile"]["422"] > VISITS / 10
    assert [mark.requests for mark in found.marks] == [0, VISITS // 2, VISITS]
    assert all(mark.resident_mb > 100 for mark in found.marks)
    assert found.to_dict()["growth_mb"] == found.growth_mb
    assert served.process.poll() is None


def test_the_page_has_the_events_that_visitors_use(served: Served) -> None:
    """An app of one family never asks for another, so the load above would not miss them all."""
    events = served.ask("GET", "/ui/config").json()["dependencies"]
    assert {"compute", "show", "refill"} <= {event["api_name"] for event in events}


def test_every_kind_of_visitor_comes() -> None:
    shares = [kind.share for kind in traffic.KINDS.values()]
    assert sum(shares) == 100
    assert min(shares) > 0


def test_own_files_are_hostile() -> None:
    files = traffic.own_hostile()
    assert len(files) >= 20
    for data in files:
        with pytest.raises((ImageRejected, TooLarge)):
            decode_image(data)


class _Faulty(BaseHTTPRequestHandler):
    """A server that knows one model, fails at analyses, and keeps more and more."""

    held = 0

    def do_GET(self) -> None:
        if self.path.endswith("models"):
            self._answer(200, b'[{"id": "a/b-c", "family": "a", "input_size": 28}]')
            return
        type(self).held += 100
        lines = {
            "process_resident_memory_bytes": float(self.held << 20),
            "nls_cache_bytes": 0.0,
            "nls_model_hooks": 3.0,
            "nls_threads": float(self.held),
            "process_open_fds": 7.0,
            "nls_scratch_files": 1.0,
        }
        self._answer(200, "\n".join(f"{name} {value}" for name, value in lines.items()).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(500, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def faulty() -> Iterator[Site]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Faulty) as server:
        threading.Thread(target=server.serve_forever).start()
        yield Site(server.server_port)
        server.shutdown()


def test_what_is_wrong_is_told(faulty: Site, nls: Nls) -> None:
    found = soak.run(faulty, 20, settle=0)
    assert any("× 500 for analyze" in failure for failure in found.failures)
    for words in ("memory grew by .*00.0 MB after 10 req", "3 hooks stay", "00 threads more"):
        assert any(re.search(words, failure) for failure in found.failures), found.failures
    assert not any("descriptors" in failure for failure in found.failures)
    url = f"http://127.0.0.1:{faulty.port}"
    done = nls(
        "soak", "--url", url, "--requests", "4", "--settle", "0", "--growth", "1000", "--json"
    )
    assert done.status == 1
    assert "3 hooks stay" in json.loads(done.out)["failures"][-2]


def test_no_other_addresses(nls: Nls) -> None:
    assert nls("soak", "--url", "ftp://localhost").status == 2


def test_a_rate_is_kept_whatever_the_answers() -> None:
    statuses = {10: 200, 11: 503, 12: 503}

    def ask(number: int) -> Answer:
        if number == 13:
            raise ConnectionResetError
        return Answer(statuses[number], b"", {"retry-after": "1"} if number == 11 else {})

    found = load.opened(ask, 20, 0.2, first=10)
    counts = {status: len(times) for status, times in found.answers.items()}
    assert counts == {200: 1, 503: 2, BROKEN: 1}
    assert (found.unnamed, found.goodput) == (1, 5)


def test_overload_tells_what_was_reached(served: Served) -> None:
    figures = {each.name: each for each in overload.measure(Site(served.port), TINY[0], 0.5)}
    assert figures["asked for"].value == pytest.approx(4 * figures["peak"].value, rel=0.05)
    assert figures["neither answered nor refused with 503"].value == 0
    assert figures["refusals without Retry-After"].reached
    least = figures["goodput of the peak"]
    assert replace(least, value=0.95).reached
    assert not replace(least, value=0.85).reached
    assert least.wanted == "≥ 0.9"
    assert figures["peak"].reached is None
