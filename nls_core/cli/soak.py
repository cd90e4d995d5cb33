"""`nls soak`: mixed valid and hostile load for long, or more of it than can be answered."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.table import Table

from nls_core.cli.terminal import AsJson, err, out, print_json, progress_bar
from nls_core.errors import InvalidInput
from nls_core.settings import Settings

if TYPE_CHECKING:
    from nls_core.web.bench.process import Site


def command(
    *,
    requests: Annotated[
        int, typer.Option(min=2, help="Visits, each of one request or a session.")
    ] = 10_000,
    clients: Annotated[int, typer.Option(min=1, help="That ask at the same time.")] = 8,
    url: Annotated[
        str | None, typer.Option(help="Of a server of your own; by default one is started.")
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(help="A folder of hostile files; by default a few are made.", exists=True),
    ] = None,
    growth: Annotated[
        float, typer.Option(help="Megabytes that memory may grow by after the first 1,000.")
    ] = 20.0,
    settle: Annotated[
        float, typer.Option(min=0, help="Seconds of quiet before memory is looked at.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(help="Decides who asks for what.")] = 0,
    overload: Annotated[
        bool, typer.Option(help="Instead: four times as much as the app can answer.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, help="Of each part of --overload.")] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Put mixed valid and hostile load on the app, and see what stays behind.

    Only for servers of your own. The exit status is 1 if anything failed.
    """
    with _ending():
        if overload:
            found, failed = _overload(url, seconds, as_json=as_json)
        else:
            hostile = [path.read_bytes() for path in sorted(files.iterdir())] if files else []
            options = {"clients": clients, "seed": seed, "hostile": hostile}
            options |= {"most_mb": growth, "settle": settle}
            found, failed = _soak(url, requests, options, as_json=as_json)
    if as_json:
        print_json(found)
    raise typer.Exit(int(failed))


@contextmanager
def _ending() -> Iterator[None]:
    """SIGTERM ends the block as an error does, so that the server that was started ends too."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _soak(
    url: str | None, requests: int, options: dict[str, Any], *, as_json: bool
) -> tuple[Any, bool]:
    from nls_core.web.bench import soak

    with (
        _site(url, NLS_MAX_CACHE_BYTES=str(soak.CACHE)) as site,
        progress_bar(quiet=as_json) as bar,
    ):
        task = bar.add_task("visits", total=requests)
        done = partial(_advance, bar, task)
        found = soak.run(site, requests, done=done, **options)
    if not as_json:
        answers = Table("kind of visitor", "answers: how many of each status")
        for kind, statuses in found.answers.items():
            answers.add_row(kind, ", ".join(f"{n:,} × {s}" for s, n in statuses.items()))
        marks = Table(*asdict(found.marks[0]))
        for mark in found.marks:
            marks.add_row(*map(str, asdict(mark).values()))
        out.print(answers, marks)
        for failure in found.failures:
            err.print(failure, style="red")
    return found.to_dict(), bool(found.failures)


def _advance(bar: Any, task: Any, done: int) -> None:
    bar.update(task, completed=done)


def _overload(url: str | None, seconds: float, *, as_json: bool) -> tuple[Any, bool]:
    from nls_core.web.bench import overload
    from nls_core.web.bench.report import opening_pair

    models = ",".join(opening_pair(Settings()))
    with _site(url) as site:
        figures = overload.measure(site, models, seconds)
    if not as_json:
        table = Table("what", "measured", "unit", "aim")
        for each in figures:
            table.add_row(each.name, f"{each.value:g}", each.unit, each.wanted)
        out.print(table)
    rows = [asdict(each) | {"reached": each.reached} for each in figures]
    return rows, any(each.reached is False for each in figures)


@contextmanager
def _site(url: str | None, **environment: str) -> Iterator[Site]:
    """The server of that address, or one that is started and stopped, with further settings."""
    from nls_core.web.bench.process import Site, serving

    if url is None:
        with serving(**environment) as app:
            yield app
        return
    split = urlsplit(url)
    if split.scheme != "http" or not split.hostname:
        raise InvalidInput(f"expected an address such as http://localhost:7860, got {url!r}")
    yield Site(split.port or 80, host=split.hostname)
