"""The page as a stranger on the network sees it: files, memory, places, and who listens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.conftest import TINY, picture_bytes
from tests.security.conftest import Running
from tests.security.page_client import API, Stranger

SECRET = "a line that only the server's owner may read"


def file(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def answer_values(image: Any, **changed: Any) -> list[Any]:
    """The inputs of the public event /compare."""
    values = {"baseline": TINY[0], "candidate": TINY[1], "attack": "fgsm", "cam": "gradcam"}
    return [image, *(values | changed).values()]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text(SECRET, encoding="utf-8")
    return path


def text_of(app: Running, joined: httpx.Response, stranger: Stranger) -> str:
    """All that a stranger gets to read of a call, and of the files whose paths it names."""
    if joined.status_code != 200:
        return joined.text
    return str(stranger.listen())


@pytest.mark.parametrize("field", ["image", "baseline", "candidate", "attack", "cam"])
@pytest.mark.parametrize("where", ["secret", "/etc/passwd", "/proc/self/environ"])
def test_no_field_takes_a_file_of_the_host(
    app: Running, secret: Path, field: str, where: str
) -> None:
    stranger = Stranger(app.url)
    path = str(secret) if where == "secret" else where
    image = file(stranger.upload("a.png", picture_bytes()))
    values = answer_values(image, **({} if field == "image" else {field: file(path)}))
    if field == "image":
        values[0] = file(path)
    said = text_of(app, stranger.join(stranger.event("compare")["id"], values), stranger)
    assert "'data'" not in said  # no answer, only a refusal
    assert path not in said
    assert "/gradio" not in said  # nor where a copy lies
    fetched = httpx.get(f"{app.url}{API}/file={path}", timeout=30)
    assert fetched.status_code in (403, 404)
    assert SECRET not in fetched.text


def test_long_names_are_not_repeated_whole(app: Running) -> None:
    stranger = Stranger(app.url)
    image = file(stranger.upload("a.png", picture_bytes()))
    values = answer_values(image, baseline="x" * 5000)
    said = text_of(app, stranger.join(stranger.event("compare")["id"], values), stranger)
    assert "unknown model" in said
    assert "x" * 81 not in said


def test_a_thousand_sessions_hold_next_to_nothing(app: Running) -> None:
    stranger = Stranger(app.url)
    image = file(stranger.upload("a.png", picture_bytes()))
    compare, first = stranger.event("compare")["id"], stranger.event("first_picture")["id"]
    stranger.ask(compare, answer_values(image))
    for _ in range(20):  # Gradio's own tables grow to their first size
        Stranger(app.url).ask(first, ["tiny"])
    before = app.memory()
    for _ in range(60):
        Stranger(app.url).ask(first, ["tiny"])
    for _ in range(20):
        Stranger(app.url).ask(compare, answer_values(image))
    assert app.memory() - before < 60  # it was 21 MB for each


def test_nothing_is_computed_for_who_never_listens(app: Running) -> None:
    stranger = Stranger(app.url)
    compare = stranger.event("compare")["id"]
    image = file(stranger.upload("a.png", picture_bytes()))
    begin = time.monotonic()
    slow = answer_values(image, attack="square", cam="scorecam")
    statuses = [Stranger(app.url).join(compare, slow).status_code for _ in range(30)]
    assert set(statuses) <= {200, 503}
    deadline = time.monotonic() + 30
    while "nls_queue_in_use 0.0" not in httpx.get(f"{app.url}/metrics", timeout=30).text:
        assert time.monotonic() < deadline, "works that nobody waits for still hold places"
        time.sleep(0.2)
    answer = stranger.ask(compare, answer_values(image))
    assert answer["success"]
    assert time.monotonic() - begin < 40


def test_rest_work_stops_when_the_client_goes(app: Running) -> None:
    form = {"models": ",".join(TINY), "attack": "square", "steps": "100", "cam": "scorecam"}
    form["epsilons"] = ",".join(["0.001"] * 16)
    with pytest.raises(httpx.TimeoutException):
        httpx.post(
            f"{app.url}/api/v1/analyze",
            data=form,
            files={"image": ("a.png", picture_bytes())},
            timeout=0.3,
        )
    deadline = time.monotonic() + 5
    while "nls_queue_in_use 0.0" not in httpx.get(f"{app.url}/metrics", timeout=30).text:
        assert time.monotonic() < deadline, "the work went on without its client"
        time.sleep(0.05)
