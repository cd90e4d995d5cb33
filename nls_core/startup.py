"""What has to happen before models load: the port is taken, and memory is kept in one arena.

Imports nothing that takes time, so that a port in use is told at once.
"""

from __future__ import annotations

import ctypes
import socket
import sys

from nls_core.settings import Settings

M_ARENA_MAX = -8  # of glibc's malloc.h


def prepare(settings: Settings) -> socket.socket:
    """Call this first in a process that serves; gives the socket for `server.serve`.

    Raises:
        OSError: the address cannot be listened on; the message says what to do.
    """
    one_arena()
    return listen(settings)


def one_arena() -> bool:
    """Keep glibc from giving each thread a heap of its own, which it never returns.

    Has to run before threads start. False where the C library has no such option.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(M_ARENA_MAX, 1))


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
