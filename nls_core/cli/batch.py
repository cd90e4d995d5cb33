"""`nls batch`: models on a folder or a ZIP file of pictures, as an HTML report or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nls_core import files
from nls_core.cli.terminal import err, progress_bar
from nls_core.errors import InvalidInput, UnknownModel, unknown
from nls_core.settings import Settings


def command(
    *,
    pictures: Annotated[Path, typer.Argument(help="A folder, or a ZIP file.")],
    models: Annotated[
        str | None, typer.Option(help="Comma-separated ids; by default the opening pair.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="HTML file to write, or with .csv the numbers.")
    ] = Path("batch.html"),
    flip_point: Annotated[bool, typer.Option(help="Find each model's flip points.")] = True,
) -> None:
    """Models on many pictures; folders that are called as classes, or labels.csv, label them."""
    from nls_core.analysis import batch, choice
    from nls_core.analysis.analyzer import Analyzer
    from nls_core.views import batch_html

    settings = Settings()
    analyzer = Analyzer(settings)
    names = choice.opening(analyzer.families())
    if not (models or names):
        raise UnknownModel(unknown("model", models, analyzer.ids()))
    ids = [part.strip() for part in models.split(",")] if models else analyzer.pair(names[0])
    if not pictures.exists():
        raise InvalidInput(f"cannot read {pictures}: there is no such file or folder")
    most = settings.max_upload_bytes
    found = (
        batch.of_folder(pictures, most) if pictures.is_dir() else batch.sources([pictures], most)
    )
    if strange := batch.unknown_labels(found, analyzer.manifest(ids[0]).classes):
        err.print(strange, markup=False, highlight=False)
    with progress_bar() as bar:
        task = bar.add_task("pictures", total=len(found))
        for known in batch.run(analyzer, found, ids, flips=flip_point):
            bar.update(task, completed=known.done)
    kind = output.suffix.lower().removeprefix(".")
    files.write_text(output, batch_html.text(known, kind, settings.static_dir))
    for name, why in known.refused:
        err.print(f"not read: {name}: {why}", markup=False, highlight=False, soft_wrap=True)
    err.print(f"written: {output}", markup=False)
