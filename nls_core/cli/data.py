"""`nls data`: make a data set on this machine, from what its operating system offers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from nls_core.cli.terminal import err, out, progress_bar
from nls_core.data import stamps
from nls_core.errors import choose
from nls_core.settings import Settings

BUILDERS = {stamps.NAME: stamps.build}


def command(
    name: Annotated[str, typer.Argument(help=", ".join(BUILDERS))],
    *,
    folder: Annotated[
        Path, typer.Option("--stamps", help="Stamps of Tux Paint, as Debian installs them.")
    ] = stamps.STAMPS,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Make a data set in NLS_DATA_DIR; nothing is done again that is already there."""
    build = choose("data set to make", name, BUILDERS)
    settings = Settings()
    with progress_bar(quiet) as bar:
        task = bar.add_task("stamps", total=None)
        index = build(
            settings.data_dir,
            folder,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    out.print(_summary(index), markup=False, highlight=False, soft_wrap=True)
    found = {entry["package"] for entry in index["photos"]}
    missing = [package for package in stamps.SELECTION["photos"] if package not in found]
    if missing:
        err.print(
            "fewer kinds of backgrounds; for photos among them, and then the same command again: "
            f"apt-get install --no-install-recommends {' '.join(missing)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _summary(index: dict[str, Any]) -> str:
    counts = Counter(entry["label"] for entry in index["objects"])
    kinds = Counter(entry["kind"] for entry in index["objects"])
    photos = Counter(entry["package"] for entry in index["photos"])
    listed = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
    found = ", ".join(f"{count} from {package}" for package, count in photos.items()) or "none"
    return (
        f"{stamps.NAME}: {len(index['objects'])} objects ({listed}; {kinds['photo']} photos, "
        f"{kinds['drawing']} drawings); background photos: {found}"
    )
