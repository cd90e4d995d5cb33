"""A backend that answers over HTTP, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp


def free_socket() -> socket.socket:
    """A socket that is bound to a port of this machine; nobody listens on it yet."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    return bound


def url_of(bound: socket.socket) -> str:
    """Where it answers, once it does."""
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def answering(app: ASGIApp, bound: socket.socket | None = None) -> Iterator[str]:
    """Serve an app until the block ends; yields its address."""
    bound = bound or free_socket()
    config = uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield url_of(bound)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()
