"""`nls bench`: speed as ratios, and the server under load."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from nls_core.cli.terminal import AsJson, out, print_json
from nls_core.settings import Settings


def command(
    *,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds per comparison.")] = 15,
    quick: Annotated[bool, typer.Option(help="Three rounds: rough, but soon done.")] = False,
    server: Annotated[
        bool,
        typer.Option(help="Instead: start, memory and speed of the app, and of bare servers."),
    ] = False,
    ray: Annotated[
        bool, typer.Option(help="Instead: one process beside replicas on Ray, and costs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure speed as ratios, side by side in one run, medians of several rounds."""
    if ray:
        _show(_scaling(quick=quick), as_json=as_json)
        return
    if server:
        _server(quick=quick, as_json=as_json)
        return
    from nls_core.analysis import bench as benchmarks
    from nls_core.analysis.analyzer import Analyzer

    settings = Settings()
    pictures = sorted((settings.static_dir / "examples").glob("*/*.*"))
    fresh = settings.model_copy(update={"max_cache_bytes": 0})  # or only the first would compute
    rounds = 3 if quick else rounds
    # first what no thread of an analyzer may disturb
    rows = [_epoch(rounds)]
    rows += benchmarks.run(Analyzer(fresh), pictures[0].read_bytes(), rounds)
    if as_json:
        print_json(rows)
        return
    spreads = ("spread ms of first", "spread ms of second")
    table = Table("what", "first", "second", "first ms", "second ms", "second / first", *spreads)
    table.add_column("aim")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    out.print(table)


def _epoch(rounds: int) -> dict[str, object]:
    """An epoch by the recipe of `fashion`, beside a plain loop."""
    from nls_core.analysis.bench import compare
    from nls_core.families import FAMILIES
    from nls_core.training.bench import epochs

    with tempfile.TemporaryDirectory() as folder:
        both = epochs(Path(folder), FAMILIES["fashion"].recipe)
        ways = ("DataLoader, float32", both.plain), ("nls train", both.ours)
        return asdict(
            compare(f"an epoch of {both.images:,} images", *ways, rounds, aim=round(both.aim, 3))
        )


def _server(*, quick: bool, as_json: bool) -> None:
    from nls_core.web.bench import report

    _show(report.run(report.opening_pair(Settings()), quick=quick), as_json=as_json)
    if as_json:
        return
    for name in report.not_installed():
        out.print(f"{name} is not installed: pip install 'nls-lab\\[bench]' measures it too")


def _scaling(*, quick: bool) -> dict[str, list[dict[str, Any]]]:
    from nls_core.analysis.library import Library
    from nls_core.web.bench import scaling

    return scaling.run(Library(Settings()), quick=quick)


def _show(found: Mapping[str, list[dict[str, Any]]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for rows in found.values():
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        out.print(table)
