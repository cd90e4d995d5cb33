"""Four times as many requests as the app can answer: what is still answered, and how."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from nls_core.web.bench import load
from nls_core.web.bench.process import Site

CLIENTS = (4, 8, 16)  # of the closed loops, of which the best is the peak
TIMES = 4  # of the peak, asked for in an open loop
EVERY = 0.05  # seconds between two looks at /healthz


@dataclass(frozen=True)
class Figure:
    """One number, its unit, and what is wanted of it: 'least' or 'most' of `aim`, or nothing."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    kind: str = ""

    @property
    def wanted(self) -> str:
        """The aim in signs."""
        return "" if self.aim is None else f"{'≥' if self.kind == 'least' else '≤'} {self.aim:g}"

    @property
    def reached(self) -> bool | None:
        """Whether the aim is; None where there is none."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.kind == "least" else self.value <= self.aim


@contextmanager
def watching(site: Site) -> Iterator[list[float]]:
    """Ask for /healthz all the while; the list gets the seconds that each answer took."""
    times: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY):
            begin = time.monotonic()
            answer = site.ask("GET", "/healthz")
            # an answer that is none counts as one that never came
            times.append(time.monotonic() - begin if answer.status == 200 else float("inf"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def measure(site: Site, models: str, seconds: float) -> list[Figure]:
    """The figures of a running app, over whose models nobody else asks."""
    ask = partial(load.ask_app, site, models, epsilons="")  # by the usual attack
    load.closed(ask, 1, seconds / 5)  # warm
    peak = max(
        load.closed(ask, clients, seconds, first=10**6 * clients).goodput for clients in CLIENTS
    )
    with watching(site) as health:
        over = load.opened(ask, TIMES * peak, seconds, first=10**8)
    refused = len(over.answers.get(503, ()))
    others = sum(len(v) for status, v in over.answers.items() if status not in (200, 503))
    ms = {share: round(1000 * over.quantile(503, share), 1) for share in (0.5, 0.99)}
    slowest = round(1000 * max(over.answers.get(503, [0.0])), 1)
    return [
        Figure("peak", round(peak, 1), "analyses a second"),
        Figure("asked for", round(TIMES * peak, 1), "analyses a second"),
        Figure("goodput", round(over.goodput, 1), "analyses a second"),
        Figure("goodput of the peak", round(over.goodput / peak, 3), "", 0.9, "least"),
        Figure("refused", refused, "requests"),
        Figure("neither answered nor refused with 503", others, "requests", 0, "most"),
        Figure("refusals without Retry-After", over.unnamed, "requests", 0, "most"),
        Figure("refusal, median", ms[0.5], "ms"),
        Figure("refusal, 99 %", ms[0.99], "ms"),
        Figure("refusal, slowest", slowest, "ms", 100, "most"),
        Figure("/healthz meanwhile, median", round(1000 * load.quantile(health, 0.5), 1), "ms"),
        Figure(
            "/healthz meanwhile, 99 %",
            round(1000 * load.quantile(health, 0.99), 1),
            "ms",
            50,
            "most",
        ),
    ]
