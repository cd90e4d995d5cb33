"""Gradio's routes, one attack each: no other file, no 5xx, no private call."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from nls_core.settings import ROOT
from tests.conftest import TINY, picture_bytes
from tests.security.served import API, Served

SECRET = "root:x:0"
OUTSIDE = ["/etc/passwd", str(ROOT / "pyproject.toml"), str(ROOT / "static/style.css"), "app.py"]
META = {"_type": "gradio.FileData"}
MODELS = [*TINY, "fgsm", "gradcam"]
REMOVED = [
    ("GET", f"{API}/proxy=https://example.org"),
    ("GET", f"{API}/file=https://example.org/a.png"),
    ("GET", f"{API}/file/etc/passwd"),
    ("GET", f"{API}/deep_link?session_hash=a"),
    ("GET", f"{API}/custom_component/a/client/component/../../../etc/passwd"),
    ("GET", f"{API}/stream/a/1/2/playlist.m3u8"),
    ("GET", f"{API}/queue/status"),
    ("GET", f"{API}/startup-events"),
    ("GET", f"{API}/run-history/buckets"),
    ("GET", f"{API}/runs"),
    ("GET", f"{API}/token"),
    ("GET", f"{API}/dev/reload"),
    ("GET", f"{API}/openapi.json"),
    ("GET", f"{API}/vibe-code"),
    ("GET", "/ui/monitoring"),
    ("GET", "/ui/monitoring/summary"),
    ("GET", "/ui/pwa_icon/100000"),
    ("POST", "/ui/login"),
    ("POST", f"{API}/component_server"),
    ("POST", f"{API}/process_recording"),
    ("POST", f"{API}/run/compare"),
    ("POST", f"{API}/api/compare"),
    ("POST", f"{API}/stream/a"),
    ("POST", f"{API}/stream/a/close"),
    ("POST", f"{API}/vibe-edit"),
    ("POST", f"{API}/run-history/connect"),
]


@pytest.mark.parametrize(("method", "path"), REMOVED)
def test_routes_that_the_page_does_not_need_are_not_there(
    served: Served, method: str, path: str
) -> None:
    answer = served.ask(method, path, {"data": []} if method == "POST" else None)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("position", range(5))
def test_files_that_nobody_uploaded_go_into_no_component(
    served: Served, path: str, position: int
) -> None:
    data: list[Any] = [None, *MODELS]
    data[position] = {"path": path, "meta": META}
    for route, body in (
        (f"{API}/call/compare", {"data": data}),
        (f"{API}/call/v2/compare", {"image": data[position]}),
        (f"{API}/queue/join", {"data": data, "fn_index": 0, "session_hash": "s"}),
        (f"{API}/queue/join", {"data": [], "event_data": data, "fn_index": 0, "session_hash": "s"}),
    ):
        answer = served.ask("POST", route, body)
        assert answer.status == 403, answer.text
        assert "uploaded here" in answer.json()["detail"]
        assert path not in answer.text


@pytest.mark.parametrize(
    "value",
    [
        {"path": "/etc/passwd"},
        {"path": ["/etc/passwd"]},
        {"path": "", "url": "file:///etc/passwd"},
        {"path": "https://example.org/a.png"},
        {"url": "data:image/tiff;base64,AAAA"},
        {"path": "{uploads}/../../../etc/passwd", "meta": META},
        {"path": "{uploads}/a\0", "meta": META},
        {"path": "uploads/a", "meta": META},
        {"path": "/etc/passwd", "is_stream": True, "meta": META},
        [[[{"value": {"path": "/etc/passwd", "meta": META}}]]],
    ],
)
def test_every_shape_of_a_file_is_checked(served: Served, value: Any) -> None:
    uploads = str(Path(served.upload(b"a").json()[0]).parent.parent)
    filled = json.loads(json.dumps(value).replace("{uploads}", uploads))
    answer = served.ask("POST", f"{API}/call/compare", {"data": [filled, *MODELS]})
    assert answer.status == 403, answer.text


def test_a_key_that_stands_twice_is_read_once(served: Served) -> None:
    own = served.upload(picture_bytes()).json()[0]
    file = f'{{"path": "/etc/passwd", "path": {json.dumps(own)}, "meta": {json.dumps(META)}}}'
    body = f'{{"data": [{file}, {json.dumps(MODELS)[1:-1]}]}}'
    for encoding in ("utf-8", "utf-16"):
        headers = {"Content-Type": "application/json"}
        joined = served.ask("POST", f"{API}/call/compare", body.encode(encoding), headers)
        assert joined.status == 200
        event = joined.json()["event_id"]
        text = served.ask("GET", f"{API}/call/compare/{event}").text
        assert "event: complete" in text
        assert SECRET not in text


def test_an_upload_is_compared_and_can_be_fetched(served: Served) -> None:
    path = served.upload(picture_bytes()).json()[0]
    assert served.ask("GET", f"{API}/file={quote(path)}").body == picture_bytes()
    text = served.call([{"path": path, "meta": META}, *MODELS])
    assert "event: complete" in text
    assert not re.search(r"/(?:tmp|root|home|work|usr)/", text)


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize(
    "form",
    ["{}", "//{}", "{uploads}/../../..{}", "{static}/../../../../../..{}", "/proc/self/root{}"],
)
def test_no_other_file_can_be_fetched(served: Served, path: str, form: str) -> None:
    uploads = str(Path(served.upload(b"a").json()[0]).parent.parent)
    place = form.replace("{uploads}", uploads).replace("{static}", str(ROOT / "static/examples"))
    for text in (place.format(path), quote(place.format(path), safe="")):
        for prefix in (f"{API}/file=", "/ui/static/", "/ui/assets/", "/ui/svelte/"):
            for method in ("GET", "HEAD"):
                answer = served.ask(method, prefix + text)
                assert answer.status in (403, 404, 405), (prefix, text)  # 405: HEAD
                assert SECRET not in answer.text
                assert len(answer.body) < 1000  # a problem, with the path that was asked for


def test_ranges_cannot_break_a_fetch(served: Served) -> None:
    path = quote(served.upload(b"abc").json()[0])
    for value in ("bytes=1-2-3", "bytes=9-1", "bytes=99999999999999999999-", "x", "bytes=5-5"):
        answer = served.ask("GET", f"{API}/file={path}", headers={"Range": value})
        assert (answer.status, answer.body) == (200, b"abc")


def functions(served: Served) -> list[dict[str, Any]]:
    """The listeners of all pages."""
    found: list[dict[str, Any]] = served.ask("GET", "/ui/config").json()["dependencies"]
    return found


def test_private_and_unknown_functions_are_404(served: Served) -> None:
    listed = served.ask("GET", f"{API}/info").json()["named_endpoints"]
    assert sorted(listed) == ["/analyze", "/compare"]
    private = {str(f["api_name"]) for f in functions(served)} - {"analyze", "compare"}
    assert private
    for name in (*private, "nothing", "x" * 300, "a%00b"):
        for route in ("call", "call/v2"):
            answer = served.ask("POST", f"{API}/{route}/{quote(name)}", {"data": []})
            assert answer.status == 404, name
            direct = {"data": [], "fn_index": 0}
            assert served.ask("POST", f"{API}/{route}/{quote(name)}", direct).status == 404
    wrong: list[Any] = [10_000, -1, None, "0", True, 1.0, [], 1e400]
    for index in wrong:
        body = {"data": [], "session_hash": "s", "fn_index": index}
        assert served.ask("POST", f"{API}/queue/join", body).status == 404, index


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe\xff",
        b"[" * 500_000,
        b'{"data": [], "session_hash": "' + b"x" * 65 + b'"}',
        b'{"data": [], "session_hash": {}}',
        b'{"data": ' + b'{"a":' * 150_000 + b"1" + b"}" * 150_001,
    ],
)
def test_malformed_calls_are_4xx(served: Served, body: bytes) -> None:
    for route in ("queue/join", "call/compare", "call/v2/compare", "cancel", "reset"):
        headers = {"Content-Type": "application/json"}
        answer = served.ask("POST", f"{API}/{route}", body, headers)
        assert 400 <= answer.status < 500, (route, answer.text)


def test_calls_are_small(served: Served) -> None:
    answer = served.ask("POST", f"{API}/call/compare", {"data": ["x" * 1_100_000]})
    assert answer.status == 413


def test_odd_paths_are_4xx(served: Served) -> None:
    long = "x" * 300
    for path in (
        f"/api/v1/models/x/{long}",
        f"/api/v1/models/{long}/x",
        f"/ui/{long}",
        f"/ui/static/{long}",
        f"/ui/assets/{long}",
        "/ui/static/%00",
        "/ui/assets/a%00.js",
        f"{API}/file={long}",
        f"{API}/file=/{long}/%00",
        f"{API}/heartbeat/{long}",
        f"{API}/queue/data",
        f"{API}/upload_progress",
        "/ui/config?deep_link=../../etc/passwd&page=x",
        "/ui/?deep_link=../../etc/passwd",
    ):
        answer = served.ask("GET", path)
        assert answer.status < 500, path
        assert SECRET not in answer.text
        if "?" not in path:
            assert answer.status >= 400, path


@pytest.mark.parametrize("path", ["/ui/", "/ui/config", "/ui/calibration", f"{API}/info"])
def test_the_page_names_no_folder_but_that_of_its_pictures(served: Served, path: str) -> None:
    text = served.ask("GET", path).text
    scratch = str(served.log.parent / "scratch")
    assert not re.search(r"/(?:tmp|root|home|work|usr|opt)/", text.replace(scratch, ""))


def test_names_of_uploads_lead_nowhere(served: Served) -> None:
    scratch = served.log.parent / "scratch"
    for name in ("../../evil.txt", "/etc/evil.txt", "x" * 300 + ".png", "state.json", "a\\..\\b"):
        answer = served.upload(b"evil", name)
        assert answer.status == 200
        assert Path(answer.json()[0]).resolve().is_relative_to((scratch / "uploads").resolve())


def test_a_picture_within_the_address_is_not_decoded(served: Served) -> None:
    url = "data:image/png;base64," + base64.b64encode(picture_bytes()).decode()
    answer = served.ask("POST", f"{API}/call/compare", {"data": [{"url": url}, *MODELS]})
    assert answer.status == 403
