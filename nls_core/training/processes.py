"""One process among others: signals that ask it to stop, and the group that torchrun starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from nls_core.errors import Interrupted

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _handled(handle: Callable[[int], None]) -> Iterator[None]:
    before = {name: signal.signal(name, lambda number, _: handle(number)) for name in STOPS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Turn Ctrl-C and SIGTERM into a question that a loop asks when it can stop.

    It is answered with the number of the first signal that came, or 0.
    """
    asked: list[int] = []
    with _handled(asked.append):
        yield lambda: asked[0] if asked else 0


@contextmanager
def stops_raise(saved: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise `Interrupted` wherever no `stop_signals` waits for them."""

    def stop(number: int) -> None:
        raise Interrupted(number, saved)

    with _handled(stop):
        yield


@contextmanager
def processes(patience: timedelta | None = None) -> Iterator[int]:
    """Join the group that torchrun started, if any; yields this process's rank.

    `patience` is how long one process may wait for another; None is torch's own.
    """
    if "WORLD_SIZE" not in os.environ:
        yield 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=patience)
    try:
        yield dist.get_rank()
    except Interrupted as error:
        error.quiet = dist.get_rank() > 0
        raise
    finally:
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Go on once every process of the group has come here; at once where there is none."""
    if dist.is_initialized():
        dist.barrier()
