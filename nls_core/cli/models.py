"""`nls models`: what is in the models folder, with its measured figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from nls_core import listing
from nls_core.cli.terminal import AsJson, out, print_json
from nls_core.settings import Settings


def command(
    *,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """List the models with their measured accuracy and calibration."""
    settings = Settings()
    ids = listing.available(settings.models_dir)
    if as_json:  # checked as for use
        from nls_core import zoo

        print_json([asdict(zoo.read_manifest(each, settings.models_dir)) for each in ids])
        return
    manifests = [listing.stated(model_id, settings.models_dir) for model_id in ids]
    head, *rows = listing.summary(manifests)
    if markdown:
        from nls_core.evidence import findings

        typer.echo(findings.markdown([head, *rows]))
        return
    name, *figures = head
    columns = [
        Column(title, justify="right", vertical="bottom", min_width=max(map(len, title.split())))
        for title in figures
    ]  # so that 80 columns are enough
    table = Table(Column(name, no_wrap=True), *columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*row)
    out.print(table)
