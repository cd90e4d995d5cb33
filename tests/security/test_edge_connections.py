"""Slow clients, HEAD, headers, the log, and what a port in use says."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from nls_core.settings import ROOT, Settings
from nls_core.web.bench.process import free_port, multipart
from tests.conftest import TINY, picture_bytes
from tests.security.served import API, Served

ANALYZE = "/api/v1/analyze"
SECONDS = 2  # NLS_READ_SECONDS of `served`


def drip(served: Served, head: str, drop: bytes, limit: float = 8) -> tuple[bytes, float]:
    """Send a head, then a drop now and then; gives the answer and the seconds it took."""
    begin, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=0.25) as connection:
        connection.sendall(head.encode())
        while time.monotonic() - begin < limit:
            try:
                connection.sendall(drop)
                got = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if not got:
                break
            answer += got
    return answer, time.monotonic() - begin


@pytest.mark.parametrize("path", [ANALYZE, f"{API}/upload", f"{API}/queue/join"])
def test_bodies_that_drip_are_refused_with_408(served: Served, path: str) -> None:
    kind = "application/json" if path.endswith("join") else "multipart/form-data; boundary=b"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    part = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    begun = f"Content-Length: 100000\r\n\r\n{'' if 'json' in kind else part}"
    answer, seconds = drip(served, head + begun, b"x")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer
    assert SECONDS - 0.5 < seconds < SECONDS + 2


@pytest.mark.parametrize(
    "head",
    [
        "",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nX-B: ",
    ],
)
def test_heads_that_drip_are_cut(served: Served, head: str) -> None:
    drop = b"x" if head else b""
    _, seconds = drip(served, head, drop)
    assert seconds < SECONDS + 3


def test_heads_are_bounded(served: Served) -> None:
    answer, seconds = drip(served, "GET / HTTP/1.1\r\nX-A: ", b"x" * 100_000)
    assert seconds < 2
    assert b" 400 " in answer or not answer


def test_event_streams_outlive_the_deadline(served: Served) -> None:
    head = f"GET {API}/heartbeat/abc HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer, seconds = drip(served, head, b"", SECONDS + 1.5)
    assert b"ALIVE" in answer
    assert seconds >= SECONDS + 1


def test_too_many_connections_are_told_when_to_come_back(served: Served) -> None:
    most = Settings.model_fields["max_connections"].default
    with ExitStack() as held:
        for _ in range(most):
            address = ("127.0.0.1", served.port)
            held.enter_context(socket.create_connection(address, timeout=10))
        answer = served.ask("GET", "/api/v1/models")
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["connection"] == "close"
        assert "too many connections" in answer.json()["detail"]
        assert served.ask("GET", "/healthz").status == 200  # this machine's own question
    deadline = time.monotonic() + 10
    while served.ask("GET", "/api/v1/models").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/docs", "/metrics", "/ui/"])
def test_head_is_get_without_the_body(served: Served, path: str) -> None:
    get, head = served.ask("GET", path), served.ask("HEAD", path)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["content-type"] == get.headers["content-type"] if get.body else True
    assert head.headers["content-length"] != "0" or not get.body


def test_security_headers_fit_the_route(served: Served) -> None:
    for path in ("/api/v1/models", "/docs", "/healthz", "/nowhere", "/ui/", f"{API}/info"):
        headers = served.ask("GET", path).headers
        assert "camera=(self)" in headers["permissions-policy"]
        assert "microphone=()" in headers["permissions-policy"]
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        if not path.startswith("/ui"):
            assert "unsafe" not in policy
            assert "script" not in policy


def test_the_log_is_json_and_names_no_upload(served: Served) -> None:
    name = "a-private-name"
    path = served.upload(b"no picture", f"{name}.png").json()[0]
    served.ask("GET", f"{API}/file={path}")
    for file in (path, f"{path}-gone"):
        data = [{"path": file, "meta": {"_type": "gradio.FileData"}}, *TINY, "fgsm", "gradcam"]
        served.call(data)
    served.call([None, *TINY, "fgsm", "gradcam"])
    served.call([])  # Gradio raises and prints
    body, headers = multipart({"image": (f"{name}.png", picture_bytes()), "models": TINY[0]})
    assert served.ask("POST", ANALYZE, body, headers).status == 200
    lines = served.lines()
    assert {"starting", "request"} <= {line["event"] for line in lines}
    text = served.log.read_text()
    assert name not in text
    assert str(served.log.parent / "scratch") not in text
    assert "Traceback" in text  # of what failed above, within a line
    for line in lines:
        if line["event"] == "request":
            assert line["request_id"]
            assert "path" not in line


def test_a_port_in_use_is_told_before_anything_loads() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={"NLS_PORT": str(port), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        seconds = time.monotonic() - begin
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "NLS_PORT" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert seconds < 5  # 0.5 s on an idle machine; loading takes ten times that


def test_starting_imports_nothing_heavy() -> None:
    code = (
        "import nls_core.web.startup, sys; print({'torch', 'gradio', 'fastapi'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, cwd=ROOT, text=True).strip() == "set()"


def test_threads_share_one_arena(models_dir: Path, tmp_path: Path) -> None:
    code = """
import threading, ctypes
from nls_core.analysis.memory import one_arena
assert one_arena()
libc = ctypes.CDLL(None)
def work():
    held = [bytearray(1000) for _ in range(10000)]
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
libc.malloc_stats()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr.count("Arena") == 1
    assert free_port()
