"""Memory goes back to the system: glibc keeps what was freed, in an arena for each thread."""

from __future__ import annotations

import ctypes
from functools import cache

_M_ARENA_MAX = -8  # of malloc.h


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def one_arena() -> bool:
    """Let all threads share one arena, before they start: computing lies in one thread anyway.

    False where the C library has no such option.
    """
    return (libc := _libc()) is not None and bool(libc.mallopt(_M_ARENA_MAX, 1))


def give_back() -> None:
    """Return free memory to the system: after an analysis some 600 MB, in about 50 ms."""
    if (libc := _libc()) is not None:
        libc.malloc_trim(0)
