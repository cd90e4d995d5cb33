"""`nls findings`: the verdicts on the claims, as a document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nls_core.cli.terminal import err
from nls_core.evidence import findings
from nls_core.settings import Settings


def command(
    family: Annotated[str, typer.Argument(help="A family with a report.json.")] = "fashion",
    output: Annotated[Path, typer.Option(help="Markdown file to write.")] = Path(
        "docs/findings.md"
    ),
) -> None:
    """Write the verdicts on the paper's claims, from the family's reports."""
    for finding in findings.write(family, Settings().models_dir, output):
        typer.echo(f"{finding.verdict}: {finding.claim}")
    err.print(f"written: {output}", markup=False)
