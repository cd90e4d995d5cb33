"""The server's part of `nls bench`: its start, its memory, its speed under load, as rows."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import structlog

from nls_core.settings import Settings
from nls_core.web.bench import bare, load, visitors
from nls_core.web.bench.process import App, multipart, serving

log = structlog.get_logger("nls_core")
CLIENTS = (1, 4, 16, 64)
VISITORS, QUICK_VISITORS = (1, 100, 1000), (1, 20)
SECONDS, QUICK_SECONDS = 10.0, 2.0


@dataclass(frozen=True)
class Figure:
    """One number and its unit; `aim` is what is wanted at most, None where there is no wish."""

    name: str
    value: float
    unit: str
    aim: float | None = None


def run(pair: tuple[str, str], *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Start the app and others, and measure; only for Linux, which tells a process's memory.

    Args:
        pair: ids of two models of one family, for the load.
        quick: fewer visitors, and seconds instead of tens.

    Returns:
        'app': the figures of the start and of memory; 'load': of the servers under load.
    """
    seconds = QUICK_SECONDS if quick else SECONDS
    with serving() as app:
        figures = list(_start(app, QUICK_VISITORS if quick else VISITORS))
    models = ",".join(pair)
    ask = partial(load.ask_app, models=models)
    with serving(NLS_MAX_QUEUE="64") as app:
        speeds = _under_load("nls", lambda n: ask(app, seed=n), seconds)
    for name in bare.SERVERS:
        if name in not_installed():
            continue
        command = ("-m", bare.__name__)
        try:
            with serving(command, "/health", NLS_BARE=name, NLS_BARE_MODELS=models) as other:
                speeds += _under_load(name, partial(_ask_bare, other), seconds)
        except RuntimeError as error:  # what was measured of the others stays
            log.warning("server_left_out", server=name, why=str(error))
    return {"app": [asdict(each) for each in figures], "load": [asdict(each) for each in speeds]}


def not_installed() -> tuple[str, ...]:
    """Of the servers to compare with, those that are not there."""
    return tuple(name for name in bare.SERVERS if importlib.util.find_spec(name) is None)


def _start(app: App, counts: tuple[int, ...]) -> Iterator[Figure]:
    yield Figure("processor time until ready", round(app.cpu, 1), "s", 5.0)
    yield Figure("until ready", round(app.wall, 1), "s", 5.0)
    yield Figure("resident when ready", round(app.resident()), "MB", 700)
    done = 0
    for count in counts:
        for number in range(done, count):
            visitors.visit(app, number)
        done = count
        yield Figure(f"resident after {count} visitors", round(app.resident()), "MB", 1000)


def _under_load(name: str, ask: Any, seconds: float) -> list[load.Speed]:
    load.measure(name, ask, 1, seconds / 2)  # warm
    return [
        load.measure(name, ask, clients, seconds, first=1_000_000 * (i + 1))
        for i, clients in enumerate(CLIENTS)
    ]


def _ask_bare(app: App, number: int) -> Any:
    fields: dict[str, str | tuple[str, bytes]] = {"image": ("a.png", visitors.picture(number))}
    return app.ask("POST", bare.PATH, *multipart(fields))


def opening_pair(settings: Settings) -> tuple[str, str]:
    """The pair of the smallest models: what a server adds shows best beside little work."""
    from nls_core.analysis.analyzer import Analyzer  # noqa: PLC0415 - torch, and seconds

    analyzer = Analyzer(settings)
    smallest = min(
        analyzer.families(), key=lambda name: analyzer.manifest(analyzer.pair(name)[0]).input_size
    )
    return analyzer.pair(smallest)
