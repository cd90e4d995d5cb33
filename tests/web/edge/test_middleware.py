"""Body limits, headers, log, metrics and health: what operators rely on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from nls_core import listing
from nls_core.settings import Settings
from nls_core.web.rest.api import FORM_BYTES, create_api
from tests.conftest import TINY, picture_bytes
from tests.helpers.rest import ANALYZE, FORM, check_problem, post

LIMIT = 20_000 + FORM_BYTES


@pytest.fixture(scope="module")
def narrow(models_dir: Path) -> FastAPI:
    """An app for small uploads, with something mounted where the page goes."""
    app = create_api(Settings(models_dir=models_dir, device="cpu", max_upload_bytes=20_000))

    async def count(scope: Scope, receive: Any, send: Any) -> None:
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    app.mount("/ui", count)
    return app


@pytest.mark.parametrize("path", [ANALYZE, "/ui/upload"])
def test_announced_bodies_beyond_the_limit_are_refused(narrow: FastAPI, path: str) -> None:
    files = {"image": ("picture.png", bytes(LIMIT))}
    body = check_problem(TestClient(narrow).post(path, data=FORM, files=files), 413)
    assert body["title"] == "Upload too large"
    assert f"{LIMIT:,}" in body["detail"]


def stream(app: FastAPI, path: str, content_type: str, chunk: bytes, count: int) -> Any:
    """POST a body in chunks, without its length; gives status, headers, body, chunks read."""
    read, sent = 0, []

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": chunk, "more_body": read < count}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", content_type.encode()),
            (b"transfer-encoding", b"chunked"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    anyio.run(app, scope, receive, send)
    start, *rest = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, b"".join(m["body"] for m in rest), read


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (ANALYZE, "multipart/form-data; boundary=b"),
        ("/ui/upload", "application/octet-stream"),
    ],
)
def test_streamed_bodies_are_cut_at_the_limit(
    narrow: FastAPI, path: str, content_type: str
) -> None:
    # a file part's head at first; later chunks are its content
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    status, headers, body, read = stream(narrow, path, content_type, head.ljust(1000, b"x"), 10**6)
    assert status == 413
    assert headers["content-type"] == "application/problem+json"
    assert "frame-ancestors" in headers["content-security-policy"]
    assert json.loads(body)["title"] == "Upload too large"
    assert read * 1000 <= LIMIT + 1000


def test_bodies_up_to_the_limit_pass(narrow: FastAPI) -> None:
    status, _, body, read = stream(narrow, "/ui/upload", "text/plain", b"x" * 1000, 1068)
    assert (status, body, read) == (200, b"1068000", 1068)
    assert TestClient(narrow).post("/ui/upload", content=bytes(LIMIT)).text == str(LIMIT)


def test_an_image_beyond_its_own_limit_is_refused(narrow: FastAPI) -> None:
    body = check_problem(post(TestClient(narrow), picture_bytes() + bytes(20_000)), 413)
    assert "20,000" in body["detail"]


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "models": dict.fromkeys(TINY, "ready")}


def test_without_usable_models_it_is_not_ready(models_dir: Path, tmp_path: Path) -> None:
    client = TestClient(create_api(Settings(models_dir=tmp_path, device="cpu")))
    response = client.get("/readyz")
    assert check_problem(response, 503)["models"] == {}
    assert int(response.headers["retry-after"]) > 0
    assert client.get("/api/v1/models").json() == []
    shutil.copytree(models_dir, tmp_path, dirs_exist_ok=True)
    assert client.get("/readyz").status_code == 200
    (tmp_path / TINY[0] / listing.CONFIG).write_text("{", encoding="utf-8")
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["models"][TINY[1]] == "ready"
    assert "damaged" in answer.json()["models"][TINY[0]]
    assert [model["id"] for model in client.get("/api/v1/models").json()] == [TINY[1]]


def test_metrics_count_by_route_not_by_path(models_dir: Path) -> None:
    client = TestClient(create_api(Settings(models_dir=models_dir, device="cpu")))
    for model_id in TINY:
        client.get(f"/api/v1/models/{model_id}")
    client.get("/nowhere/1")
    client.request("BREW", "/nowhere/2")
    client.get("/ui/deep/file")
    post(client)
    post(client, cam="magic")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for line in (
        'nls_requests_total{method="GET",route="/api/v1/models/{family}/{name}",status="200"} 2.0',
        'nls_requests_total{method="POST",route="/api/v1/analyze",status="422"} 1.0',
        'nls_requests_total{method="GET",route="none",status="404"} 1.0',
        'nls_requests_total{method="other",route="none",status="404"} 1.0',
        'nls_requests_total{method="GET",route="/ui",status="404"} 1.0',
        'nls_request_seconds_count{route="/api/v1/analyze"} 2.0',
        'nls_analyses_total{outcome="done"} 1.0',
        'nls_analyses_total{outcome="refused"} 1.0',
        "nls_queue_in_use 0.0",
    ):
        assert line in response.text.splitlines()


def test_metrics_tell_what_takes_time_and_what_might_stay_behind(models_dir: Path) -> None:
    client = TestClient(create_api(Settings(models_dir=models_dir, device="cpu")))
    assert post(client, flip_point="true").status_code == 200
    assert post(client, flip_point="true").status_code == 200  # kept: computes nothing
    lines = client.get("/metrics").text.splitlines()
    for phase in ("decode", "wait"):
        assert f'nls_phase_seconds_count{{phase="{phase}"}} 1.0' in lines
    for phase in ("predict", "attack", "maps under attack", "flip point"):
        assert f'nls_phase_seconds_count{{phase="{phase}"}} 2.0' in lines
    for model_id in TINY:
        assert f'nls_model_seconds_count{{model="{model_id}"}} 1.0' in lines
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    took = float(values['nls_phase_seconds_sum{phase="attack"}'])
    assert 0 < took < sum(float(values[f'nls_model_seconds_sum{{model="{i}"}}']) for i in TINY)
    assert values["nls_model_hooks"] == "0.0"
    assert float(values["nls_threads"]) >= 1
    assert float(values["process_resident_memory_bytes"]) > 1e8
    assert float(values["process_open_fds"]) > 3


def test_hooks_that_stay_are_seen(api: FastAPI) -> None:
    client = TestClient(api)
    assert post(client).status_code == 200
    module = next(iter(api.state.analyzer.load(TINY[0]).model.modules()))
    with module.register_forward_hook(lambda *_: None):
        assert "nls_model_hooks 1.0" in client.get("/metrics").text
    assert "nls_model_hooks 0.0" in client.get("/metrics").text


def test_a_picture_is_logged_by_its_hash(client: TestClient) -> None:
    with structlog.testing.capture_logs() as logs:
        post(client)
        client.get("/healthz")
    assert logs[0]["image"] == hashlib.sha256(picture_bytes()).hexdigest()
    assert "image" not in logs[1]


def test_one_log_line_per_request(client: TestClient) -> None:
    with structlog.testing.capture_logs() as logs:
        given = client.get("/healthz?q=1", headers={"x-request-id": "abc-1"})
        made = client.get("/nowhere", headers={"x-request-id": "no\tgood"})
    assert given.headers["x-request-id"] == "abc-1"
    first, second = logs
    assert first.pop("ms") >= 0
    assert first == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "route": "/healthz",
        "status": 200,
        "request_id": "abc-1",
    }
    assert second["status"] == 404
    assert second["request_id"] == made.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", second["request_id"])


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/nowhere", "/ui/x", "/openapi.json"])
def test_every_response_is_guarded(narrow: FastAPI, path: str) -> None:
    headers = TestClient(narrow, follow_redirects=False).get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["frame-ancestors"] == "'self' https://huggingface.co https://*.hf.space"
    assert policy["default-src"] == "'none'"
    assert "http" not in headers["content-security-policy"].partition("frame-ancestors")[0]
    assert ("script-src" in policy) == path.startswith("/ui")
    assert "x-frame-options" not in headers


def test_the_root_leads_to_the_page(client: TestClient) -> None:
    response = client.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/ui")
