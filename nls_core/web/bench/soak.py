"""Mixed load for hours, and what of it stays behind: `nls soak`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from nls_core.web.bench.process import Site
from nls_core.web.bench.traffic import KIND, KINDS, Watched, World

FIRST = 1_000  # requests after which nothing should grow any more: what is kept is full
CACHE = 32_000_000  # of a server that is started for it: full by then, so that what grows is a leak
SETTLE = 5.0  # seconds of quiet before a mark; memory goes back after two
# more than after the first requests, that are no leak: pools keep idle threads for a while
MORE = {"threads": 40, "descriptors": 8}
FINE = (503, 507)  # of the server's errors, those that say when it is busy or full
# what a mark is made of, of /metrics
GAUGES = {
    "resident_mb": "process_resident_memory_bytes",
    "cache_mb": "nls_cache_bytes",
    "hooks": "nls_model_hooks",
    "threads": "nls_threads",
    "descriptors": "process_open_fds",
    "scratch_files": "nls_scratch_files",
}


@dataclass(frozen=True)
class Mark:
    """What an app holds after some requests, once it is quiet."""

    requests: int
    resident_mb: float
    cache_mb: float  # of it, what is computed and rendered and kept for the next who ask
    hooks: int
    threads: int
    descriptors: int
    scratch_files: int


@dataclass(frozen=True)
class Soak:
    """What came of it."""

    requests: int
    clients: int
    seconds: float
    answers: dict[str, dict[str, int]]  # kind of visitor -> status -> how many
    marks: list[Mark]
    failures: list[str]

    @property
    def growth_mb(self) -> float:
        """Memory at the end above that after the first requests."""
        return round(self.marks[-1].resident_mb - self.marks[1].resident_mb, 1)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"growth_mb": self.growth_mb}


def run(
    site: Site,
    count: int,
    *,
    clients: int = 8,
    seed: int = 0,
    hostile: Sequence[bytes] = (),
    most_mb: float = 20.0,
    settle: float = SETTLE,
    done: Callable[[int], None] = lambda count: None,
) -> Soak:
    """Let visitors of all kinds ask, some at a time.

    Args:
        site: where; nobody else should ask there.
        count: of visits; a session of the page, with all its requests, is one.
        clients: that ask at the same time.
        seed: decides who asks for what, but not what comes first.
        hostile: files that hold no picture; empty: a few that are made here.
        most_mb: growth of memory after the first requests that is no failure.
        settle: seconds of quiet before memory is looked at.
        done: called with the number of visits that have ended.
    """
    watched = Watched(site.port, host=site.host)
    world = World.of(watched, hostile)
    marks = [_mark(site, 0, settle)]
    step, begin = min(FIRST, max(1, count // 2)), time.monotonic()
    names, shares = [*KINDS], [kind.share for kind in KINDS.values()]

    def visit(number: int) -> None:
        draw = random.Random(f"{seed} {number}")
        name = draw.choices(names, shares)[0]
        KIND.set(name)
        KINDS[name].visit(world, draw)

    with ThreadPoolExecutor(clients) as pool:
        for start in range(0, count, step):
            for number, _ in enumerate(pool.map(visit, range(start, min(start + step, count)))):
                done(start + number + 1)
            marks.append(_mark(site, min(start + step, count), settle))
    seconds = round(time.monotonic() - begin, 1)
    failures = [*_unexpected(watched.seen), *_grown(marks, most_mb)]
    answers: dict[str, dict[str, int]] = {}
    for (kind, status), number in sorted(watched.seen.items()):
        answers.setdefault(kind, {})[str(status)] = number
    return Soak(count, clients, seconds, answers, marks, failures)


def _mark(site: Site, requests: int, settle: float) -> Mark:
    """What /metrics says after some seconds of quiet."""
    time.sleep(settle)
    lines = site.ask("GET", "/metrics").body.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    found = {name: float(values[gauge]) for name, gauge in GAUGES.items()}
    resident, cache = (round(found.pop(name) / 2**20, 1) for name in ("resident_mb", "cache_mb"))
    return Mark(requests, resident, cache, **{name: int(value) for name, value in found.items()})


def _unexpected(seen: Mapping[tuple[str, int], int]) -> list[str]:
    """Answers that this kind of visitor should not get."""
    return [
        f"{count} × {status or 'no answer'} for {kind}"
        for (kind, status), count in sorted(seen.items())
        if kind in KINDS and status not in (*KINDS[kind].expected, *FINE)
    ]


def _grown(marks: Sequence[Mark], most_mb: float) -> list[str]:
    """What stays behind of the requests after the first ones."""
    early, late = marks[1], marks[-1]
    found = []
    if (grown := late.resident_mb - early.resident_mb) > most_mb:
        found.append(f"memory grew by {grown:.1f} MB after {early.requests:,} requests")
    if late.hooks:
        found.append(f"{late.hooks} hooks stay in the models")
    for name, most in MORE.items():
        if (more := getattr(late, name) - getattr(early, name)) > most:
            found.append(f"{more} {name} more than after {early.requests:,} requests")
    return found
