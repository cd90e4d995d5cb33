"""`nls findings`: the verdicts on the claims, as a document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nls_core.cli.terminal import err
from nls_core.evidence import findings
from nls_core.settings import Settings

FIRST = findings.first()


def command(
    family: Annotated[str, typer.Argument(help="A family with a report.json.")] = FIRST,
    output: Annotated[
        Path | None,
        typer.Option(
            help=f"Markdown file to write: {findings.document_path(FIRST)} for {FIRST}, "
            f"{findings.document_path('FAMILY')} for another one, where it is not given."
        ),
    ] = None,
) -> None:
    """Write the verdicts on the paper's claims, from the family's reports."""
    target = output or findings.document_path(family)
    for finding in findings.write(family, Settings().models_dir, target):
        typer.echo(f"{finding.verdict}: {finding.claim}")
    err.print(f"written: {target}", markup=False)
