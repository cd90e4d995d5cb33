"""The bundled pictures, with their class and mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nls_core import files
from nls_core.settings import Settings


@dataclass(frozen=True)
class Example:
    """A bundled picture: where it is, its true class, what to say of it, and its object's mask."""

    path: Path
    family: str
    label: str
    title: str
    mask: Path | None = None


def read_examples(settings: Settings) -> tuple[Example, ...]:
    """The bundled pictures, from static/examples/examples.json."""
    folder = settings.static_dir / "examples"
    entries = files.read_json(folder / "examples.json", list)
    return tuple(
        Example(
            folder / entry["file"],
            entry["family"],
            entry["label"],
            entry["title"],
            folder / entry["mask"] if "mask" in entry else None,
        )
        for entry in entries
    )
