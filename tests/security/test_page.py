"""The page as a stranger on the network sees it: files, memory, places, and who listens."""

from __future__ import annotations

import http.client
import time
from pathlib import Path
from typing import Any

import pytest

from nls_core.web.bench.process import multipart
from tests.conftest import TINY, picture_bytes
from tests.security.served import API, Form, Served
from tests.security.stranger import Stranger, file, memory

SECRET = "a line that only the server's owner may read"


@pytest.fixture
def app(busy: Served) -> Served:
    """The real app with a short queue."""
    return busy


def values(image: Any, **changed: Any) -> list[Any]:
    """The inputs of the public event /compare."""
    chosen = {"baseline": TINY[0], "candidate": TINY[1], "attack": "fgsm", "cam": "gradcam"}
    return [image, *(chosen | changed).values()]


def wait_until_idle(app: Served, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while "nls_queue_in_use 0.0" not in app.ask("GET", "/metrics").text:
        assert time.monotonic() < deadline, "works that nobody waits for still hold places"
        time.sleep(0.05)


@pytest.mark.parametrize("field", ["image", "baseline", "candidate", "attack", "cam"])
@pytest.mark.parametrize("where", ["secret", "/etc/passwd", "/proc/self/environ"])
def test_no_field_takes_a_file_of_the_host(
    app: Served, tmp_path: Path, field: str, where: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET, encoding="utf-8")
    stranger = Stranger(app)
    path = str(secret) if where == "secret" else where
    given = values(stranger.upload(picture_bytes()))
    given[("image", "baseline", "candidate", "attack", "cam").index(field)] = file(path)
    joined = stranger.join(stranger.event("compare"), given)
    shown = joined.text if joined.status != 200 else str(stranger.listen())
    assert "'data'" not in shown  # no answer, only a refusal
    assert path not in shown
    assert "scratch" not in shown  # nor where a copy lies
    fetched = app.ask("GET", f"{API}/file={path}")
    assert fetched.status in (403, 404)
    assert SECRET not in fetched.text


def test_long_names_are_not_repeated_whole(app: Served) -> None:
    stranger = Stranger(app)
    given = values(stranger.upload(picture_bytes()), baseline="x" * 5000)
    joined = stranger.join(stranger.event("compare"), given)
    shown = joined.text if joined.status != 200 else str(stranger.listen())
    assert "x" * 81 not in shown
    form: Form = {"models": "x" * 900, "image": ("a.png", picture_bytes())}
    answer = app.ask("POST", "/api/v1/analyze", *multipart(form))
    assert answer.status == 404
    assert "x" * 81 not in answer.text


def test_sessions_hold_next_to_nothing(app: Served) -> None:
    stranger = Stranger(app)
    image = stranger.upload(picture_bytes())
    compare, first = stranger.event("compare"), stranger.event("first_picture")
    stranger.ask(compare, values(image))
    for _ in range(20):  # Gradio's own tables grow to their first size
        Stranger(app).ask(first, ["tiny"])
    before = memory(app)
    for _ in range(60):
        Stranger(app).ask(first, ["tiny"])
    for _ in range(20):
        Stranger(app).ask(compare, values(image))
    assert memory(app) - before < 60  # with photos it was 21 MB for each


def test_nothing_is_computed_for_who_never_listens(app: Served) -> None:
    stranger = Stranger(app)
    compare = stranger.event("compare")
    image = stranger.upload(picture_bytes())
    begin = time.monotonic()
    slow = values(image, attack="square", cam="scorecam")
    statuses = [Stranger(app).join(compare, slow).status for _ in range(30)]
    assert set(statuses) <= {200, 503}
    wait_until_idle(app, 30)
    assert stranger.ask(compare, values(image))["success"]
    assert time.monotonic() - begin < 40


def test_work_of_rest_stops_when_the_client_goes(app: Served) -> None:
    form: dict[str, Any] = {"models": ",".join(TINY), "attack": "square", "cam": "scorecam"}
    form |= {"epsilons": ",".join(["0.001"] * 16), "steps": "100"}
    body, headers = multipart(form | {"image": ("a.png", picture_bytes())})
    connection = http.client.HTTPConnection("127.0.0.1", app.port)
    connection.request("POST", "/api/v1/analyze", body, headers)
    deadline = time.monotonic() + 5
    while "nls_queue_in_use 0.0" in app.ask("GET", "/metrics").text:
        assert time.monotonic() < deadline, "it did not begin"
    connection.close()
    wait_until_idle(app, 5)


def test_health_answers_while_others_wait(app: Served) -> None:
    stranger = Stranger(app)
    compare, image = stranger.event("compare"), stranger.upload(picture_bytes())
    for _ in range(8):
        Stranger(app).join(compare, values(image, attack="square", cam="scorecam"))
    for path in ("/healthz", "/readyz", "/metrics", "/ui/"):
        begin = time.monotonic()
        assert app.ask("GET", path).status == 200
        assert time.monotonic() - begin < 2
    wait_until_idle(app, 30)


@pytest.mark.parametrize("name", ["compute", "show", "export", "painted", "no_such"])
def test_private_events_have_no_name_to_call(app: Served, name: str) -> None:
    answer = app.ask("POST", f"{API}/call/{name}", {"data": []})
    assert answer.status == 404
    assert "no such function" in answer.text
