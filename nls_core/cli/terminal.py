"""What the commands write to: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

out = Console()
err = Console(stderr=True)


def progress_bar(quiet: bool = False) -> Progress:
    """A bar with count and remaining time, on stderr so that --json output stays clean."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=quiet or not err.is_terminal,  # in a file it would leave an empty line
        transient=True,
    )


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(data: Any) -> None:
    """Data on stdout, as JSON that reads back exactly."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
