"""Calibration over the epochs of training: as the models that ship, and in the paper's regime.

A family trained from scratch runs for many epochs on the same images, which is the paper's regime.
A transfer stops early on ever new renderings; `regime.json` holds its long training beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nls_core import families, files
from nls_core.evidence import stored_runs
from nls_core.evidence.cells import Table

REGIME = "regime.json"  # of a family's folder; `nls train --grid` makes it
LOSSES = ("ce", "nls")  # what is compared, with zero padding
KEYS = ("val_accuracy", "val_ece", "val_nll", "val_confidence")

TITLE = "Calibration over the epochs of training."
INTRO = (
    "When does cross-entropy become overconfident? Fashion-MNIST is trained from scratch, for long "
    "and on the same images, as in the paper. The photos that ship start from ImageNet's weights "
    "and stop early. No verdict rests on this: it shows when the question matters. ECE-15 on data "
    "that the network was not trained on, at the epoch of the lowest NLL and at the end. "
)
BESIDE = "Beside them stands long training on one rendering of each object. "


@dataclass(frozen=True)
class Course:
    """How one loss learnt: figures after each epoch, means over seeds, of data it never saw.

    `rows` have 'epoch' and the keys of `KEYS`, all but the NLL in [0, 1].
    """

    title: str  # of the training, for people
    loss: str
    rows: Sequence[Mapping[str, float]]
    regime: bool = False  # of `REGIME`, not as the models that ship

    @property
    def best(self) -> Mapping[str, float]:
        """The epoch of the lowest NLL."""
        return min(self.rows, key=lambda row: row["val_nll"])


def read(models_dir: Path) -> list[Course]:
    """What is known of every declared family, in the order of the declarations.

    Raises:
        CheckpointError: a file is damaged.
    """
    found = []
    for name, family in families.FAMILIES.items():
        folder = models_dir / name
        found += _of_runs(f"{name}: {_length(family.recipe)}", folder / stored_runs.FOLDER)
        if (folder / REGIME).exists():
            kept = files.read_json(folder / REGIME)["losses"]
            found += [
                Course(f"{name}: {_length(each['plan'])}", loss, each["curve"], regime=True)
                for loss, each in kept.items()
            ]
    return found


def _of_runs(title: str, raw: Path) -> list[Course]:
    """The courses of a family's runs; their logits are not read."""
    found = []
    for loss in LOSSES:
        paths = sorted((raw / f"{loss}-zero").glob("seed*.json"))
        curves = [files.read_json(path).get("curve", []) for path in paths]
        curves = [curve for curve in curves if curve and set(KEYS) <= set(curve[0])]
        if curves:
            found.append(Course(title, loss, _mean(curves)))
    return found


def _mean(curves: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """The mean over seeds, epoch by epoch."""
    return [
        {"epoch": at[0]["epoch"]} | {key: fmean(row[key] for row in at) for key in KEYS}
        for at in zip(*curves, strict=False)
    ]


def _length(recipe: Any) -> str:
    """How long a training is, and on how much: '12 epochs, 12 renderings of each object'."""
    values = recipe if isinstance(recipe, Mapping) else recipe.to_dict()
    epochs, renderings = values["epochs"], values.get("renderings")
    if renderings is None:
        return f"{epochs} epochs"
    shown = "1 rendering" if renderings == 1 else f"{renderings} renderings"
    return f"{epochs} epochs, {shown} of each object"


def sentence(courses: Sequence[Course]) -> str:
    """What the courses show, in words, from their figures alone."""
    sentences = []
    for course in courses:
        best, last = course.best, course.rows[-1]
        sentences.append(
            f"{course.title}, `{course.loss}`: {100 * best['val_ece']:.2f} % at epoch "
            f"{best['epoch']:.0f}, {100 * last['val_ece']:.2f} % at the last, where its confidence "
            f"is {_over(last):+.2f} points above its accuracy"
        )
    beside = BESIDE if any(course.regime for course in courses) else ""
    return INTRO + beside + "; ".join(sentences) + "."


def _over(row: Mapping[str, float]) -> float:
    """Mean confidence minus accuracy, in points."""
    return 100 * (row["val_confidence"] - row["val_accuracy"])


def table(courses: Sequence[Course]) -> Table:
    """Of each course ECE, NLL and overconfidence at the epoch of the lowest NLL and at the end.

    Overconfidence is the mean confidence minus the accuracy, in points.
    """
    head = ["training", "loss", "epoch", "accuracy %", "ECE-15 %", "NLL", "overconfidence"]
    rows = []
    for course in courses:
        for which, row in (("lowest NLL", course.best), ("last", course.rows[-1])):
            rows.append(
                [
                    course.title,
                    course.loss,
                    f"{row['epoch']:.0f} ({which})",
                    f"{100 * row['val_accuracy']:.2f}",
                    f"{100 * row['val_ece']:.2f}",
                    f"{row['val_nll']:.3f}",
                    f"{_over(row):+.2f}",
                ]
            )
    return [head, *rows]
