"""REST and the page as one app, and the process around it."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nls_core.settings import ROOT, Settings
from nls_core.web import startup
from nls_core.web.edge.middleware import SECURITY_HEADERS
from tests.conftest import picture_bytes
from tests.helpers.rest import check_problem, post
from tests.helpers.whole import whole_app


@pytest.fixture(scope="module")
def whole(models_dir: Path) -> Iterator[TestClient]:
    settings = Settings(models_dir=models_dir, device="cpu", max_upload_bytes=20_000)
    with whole_app(settings) as client:
        yield client


def test_rest_and_the_page_are_one_app(whole: TestClient) -> None:
    page = whole.get("/")  # led on to /ui
    assert page.status_code == 200
    assert page.url.path.startswith("/ui")
    assert "NLS Lab" in page.text
    for name, value in SECURITY_HEADERS.items():
        assert page.headers[name] == value
    assert len(post(whole).json()["models"]) == 2
    assert "html" in whole.get("/docs").headers["content-type"]


def test_the_pages_uploads_are_limited_too(whole: TestClient) -> None:
    upload = "/ui/gradio_api/upload"
    response = whole.post(upload, files={"files": ("a.png", picture_bytes())})
    assert response.status_code == 200, response.text
    check_problem(whole.post(upload, files={"files": ("a.png", bytes(2_000_000))}), 413)


def test_gradio_makes_one_server_for_all_pages(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio.routes import App

    made: list[Any] = []
    real = App.create_app

    def count(*args: Any, **options: Any) -> App:
        made.append(args)
        return real(*args, **options)

    monkeypatch.setattr(App, "create_app", staticmethod(count))
    with whole_app(Settings(models_dir=models_dir, device="cpu")) as client:
        assert len(made) == 1
        assert client.get("/ui/findings").status_code == 200


def test_gradio_is_imported_without_stubs_of_its_components() -> None:
    import gradio

    file = inspect.getfile(gradio.HTML)
    with startup.without_stubs():
        with pytest.raises(OSError, match="no stubs"):
            inspect.getfile(gradio.HTML)
        assert inspect.getfile(pytest.Item)
    assert inspect.getfile(gradio.HTML) == file


@pytest.mark.app
def test_the_process_starts_logs_lines_of_json_and_stops(models_dir: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "NLS_PORT": str(port), "NLS_MODELS_DIR": str(models_dir)}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/readyz", process)
        with urllib.request.urlopen(f"{url}/ui/gradio_api/heartbeat/abc", timeout=5):
            process.send_signal(signal.SIGTERM)  # while an event stream is open, as pages have
            _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in err
    lines = [json.loads(line) for line in err.splitlines()]
    assert lines[0]["event"] == "starting"
    assert lines[0]["url"].endswith(f":{port}")
    assert {"/readyz", "/ui/gradio_api/heartbeat/{session}"} <= {
        line.get("route") for line in lines
    }


def wait_for(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.URLError:
            assert process.poll() is None, "the app stopped at the start"
            assert time.monotonic() < deadline, "the app did not answer in 60 s"
            time.sleep(0.3)
