"""How long the phases of an analysis take, told to whoever counts them."""

from __future__ import annotations

import time
from collections.abc import Callable

Told = Callable[[str, float], None]  # a phase or a model, and seconds


def laps(told: Told) -> Callable[[str], None]:
    """What is to be called with the name of each phase, when it ends."""
    last = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal last
        begun, last = last, time.perf_counter()
        told(phase, last - begun)

    return lap
