"""The bundled pictures, with their class and mask, and what was measured of them."""

from __future__ import annotations

from collections.abc import Mapping
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

    @property
    def trained_on(self) -> bool:
        """Whether it shows an object of the data set: those alone have masks."""
        return self.mask is not None


@dataclass(frozen=True)
class Seen:
    """What one model says of an example: its answer, how sure it is, and its flip point in 1/255.

    `flip` is None where none was found up to `most`.
    """

    label: str
    confidence: float
    flip: float | None
    most: float


@dataclass(frozen=True)
class Story:
    """An example worth a look: why (a key of `stories.STORIES`), and at which strength in 1/255.

    `focus`: model id -> the share of its clean map on the object; empty without a mask.
    """

    kind: str
    example: Path
    epsilon: float
    focus: Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """What scripts/measure_examples.py found for a family's opening pair, by these weights.

    `weights`: model id -> sha256; `opening`: the example on which the models differ most, shown at
    the strength `epsilon`, in 1/255; `seen`: path of the example -> model id -> what it says;
    `stories`: those of them that are told beside the examples.
    """

    weights: Mapping[str, str]
    opening: Path
    epsilon: float
    seen: Mapping[Path, Mapping[str, Seen]]
    stories: tuple[Story, ...] = ()


MEASURED = "measured.json"


def read_measured(settings: Settings) -> dict[str, Measured]:
    """By family, from static/examples/measured.json; empty where it is not there."""
    folder = settings.static_dir / "examples"
    if not (folder / MEASURED).exists():
        return {}
    return {
        family: Measured(
            entry["weights"],
            folder / entry["opening"],
            entry["epsilon"],
            {
                folder / file: {model_id: Seen(**seen) for model_id, seen in models.items()}
                for file, models in entry["examples"].items()
            },
            tuple(
                Story(each["kind"], folder / each["example"], each["epsilon"], each["focus"])
                for each in entry.get("stories", ())
            ),
        )
        for family, entry in files.read_json(folder / MEASURED, dict)["families"].items()
    }


def opening_file(settings: Settings, family: str) -> Path:
    """Where the finished analysis of a family's opening example lies."""
    return settings.static_dir / "examples" / f"opening-{family}.npz"


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
