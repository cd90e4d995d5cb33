"""What has to happen before models load: the port is taken, and memory is kept in one arena.

Imports nothing that takes time, so that a port in use is reported at once.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nls_core.analysis.memory import one_arena
from nls_core.settings import Settings


def prepare(settings: Settings) -> socket.socket:
    """Call this first in a process that serves; gives the socket for `server.serve`.

    Raises:
        OSError: the address cannot be listened on; the message says what to do.
    """
    one_arena()
    return listen(settings)


def listen(settings: Settings) -> socket.socket:
    """A socket bound to the address of `settings`; connections wait for the server's `listen`.

    Raises:
        OSError: as `prepare`.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        bound = socket.socket(family, kind, proto)
        # else a restart waits until the last connections of the process before are forgotten
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise OSError(
            f"cannot listen on {where}: {error.strerror}; "
            "stop what listens there, or set NLS_PORT or NLS_HOST"
        ) from error
    bound.set_inheritable(True)
    return bound


@contextmanager
def without_stubs() -> Iterator[None]:
    """Import Gradio in this block, and it writes no type stubs.

    For each of its components it parses its own source to write a .pyi file beside it: a second of
    each start, for editors alone. It leaves out components of which `inspect` knows no file.
    """
    real = inspect.getfile

    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no stubs")
        return real(thing)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = real
