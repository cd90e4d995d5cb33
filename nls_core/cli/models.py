"""`nls models`: what is in the models folder, with its measured figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from nls_core import zoo
from nls_core.cli.terminal import AsJson, out, print_json
from nls_core.evidence import findings
from nls_core.settings import Settings


def command(
    *,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """List the models with their measured accuracy and calibration."""
    settings = Settings()
    ids = zoo.available(settings.models_dir)
    manifests = [zoo.read_manifest(model_id, settings.models_dir) for model_id in ids]
    if as_json:
        print_json([asdict(manifest) for manifest in manifests])
        return
    head, *rows = zoo.summary(manifests)
    if markdown:
        typer.echo(findings.markdown([head, *rows]))
        return
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    out.print(table)
