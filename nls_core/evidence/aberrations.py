"""Networks that learnt from aberrant data, on clean test labels: `aberrations.json` of a family.

The raw results that it is made of lie in `models/<family>/aberrations/<condition>/<cell>/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nls_core import files
from nls_core.errors import CheckpointError, brief
from nls_core.evidence.cells import BASE
from nls_core.metrics import bootstrap, intervals, resampling

FILE = "aberrations.json"  # in the folder of a family
FOLDER = "aberrations"  # the raw results, beside it
METRICS = ("accuracy", "ece", "nll", "aurc")


@dataclass(frozen=True)
class Answers:
    """What `METRICS` need of the answers to N images: a fifth of the bytes of their logits.

    `named` and `label` are the log-probabilities (N,) float16 of the class that it names and of the
    label, of `classes`; `right` (N,) bool.
    """

    named: Tensor
    label: Tensor
    right: Tensor
    classes: int

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Answers:
        """Of logits (N, K) and labels (N,)."""
        logs = logits.log_softmax(1)
        chosen = logits.softmax(1).argmax(1)  # of probabilities, as all metrics: they may be equal
        named, label = (logs.gather(1, k[:, None])[:, 0].half() for k in (chosen, labels))
        return cls(named, label, chosen == labels, logits.shape[1])

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Probabilities (N, K) and labels (N,) of the same `METRICS`; the named class is 0.

        The label is 0 too, or 1 where another is named; the other classes share what is left.
        """
        wrong = ~self.right
        named, label = self.named.float().exp(), self.label.float().exp()
        left = (1 - named - label.where(wrong, torch.zeros_like(label))).clamp(min=0)
        share = left / (self.classes - 1 - wrong.float()).clamp(min=1)
        probs = share.minimum(named)[:, None].repeat(1, self.classes)
        probs[:, 0] = named
        probs[:, 1] = label.where(wrong, probs[:, 1])
        return probs, wrong.long()


Runs = Mapping[str, Mapping[int, Answers]]  # cell -> seed -> answers to the test images


def slug(condition: str) -> str:
    """A condition as a folder is named."""
    return condition.replace(" %", "").replace(" ", "-")


def write_answers(path: Path, answers: Answers) -> None:
    """Write the raw results of one run."""
    files.write_arrays(
        path,
        named=answers.named.numpy(),
        label=answers.label.numpy(),
        right=np.packbits(answers.right.numpy()),
        classes=np.asarray(answers.classes),
    )


def read_answers(path: Path, images: int) -> Answers:
    """The raw results of one run, of so many images.

    Raises:
        CheckpointError: it is damaged, or of another number of images.
    """
    found = files.read_arrays(path)
    try:
        right = np.unpackbits(found["right"], count=images).astype(bool)
        named, label = (found[name].astype(np.float16) for name in ("named", "label"))
        classes = int(found["classes"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{files.shown(path)} is damaged: {brief(repr(error))}") from error
    if {named.shape, label.shape} != {(images,)} or 8 * len(found["right"]) >= images + 8:
        raise CheckpointError(
            f"{files.shown(path)} is of other images: expected {images}, got {len(named)}"
        )
    return Answers(
        torch.from_numpy(named), torch.from_numpy(label), torch.from_numpy(right), classes
    )


def basis(record: Mapping[str, Any]) -> str:
    """How long the networks of a record learnt, and from how much of the training images."""
    data, share = record["data"], record["data"].get("subset", 1.0)
    return f"{data['epochs']} epochs" + (
        f" on {100 * share:.0f} % of the images" if share < 1 else ""
    )


def cells(
    runs: Runs,
    *,
    resamples: int,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """`METRICS` of the cells of one condition, with their intervals and their differences to ce.

    Args:
        runs: what they answer on the test images, held against clean labels.
        resamples: of the images.
        progress: called with 1 after each run.

    Returns:
        cell -> 'seeds' and 'metrics', as in a report.
    """
    images = {len(answers.right) for seeds in runs.values() for answers in seeds.values()}
    draws = bootstrap.draws(images.pop(), resamples) if images else torch.empty(0)
    values: dict[str, dict[int, dict[str, float]]] = {}
    drawn: dict[str, dict[int, Mapping[str, Tensor]]] = {}
    for cell, seeds in runs.items():
        values[cell], drawn[cell] = {}, {}
        for seed, answers in seeds.items():
            probs, labels = answers.probabilities()
            values[cell][seed] = {n: resampling.METRICS[n](probs, labels) for n in METRICS}
            drawn[cell][seed] = resampling.resampled(probs, labels, draws, METRICS)
            progress(1)

    def entry(cell: str, name: str) -> dict[str, Any]:
        mine, ours = _of(values[cell], name), _of(drawn[cell], name)
        found = intervals.figure(mine, ours)
        if cell != BASE and BASE in values:
            base, theirs = _of(values[BASE], name), _of(drawn[BASE], name)
            if gap := intervals.difference(mine, base, (ours, theirs)):
                found["vs_ce_zero"] = gap.as_difference()
        return found

    return {
        cell: {"seeds": sorted(values[cell]), "metrics": {n: entry(cell, n) for n in METRICS}}
        for cell in runs
    }


def level(condition: Mapping[str, Any]) -> float:
    """Where a condition lies on its axis: wrong labels in per cent, or log10 of the imbalance."""
    if "imbalance" in condition:
        return math.log10(float(condition["imbalance"]))
    return 100.0 * float(condition.get("label_noise", 0.0))


def _of(runs: Mapping[int, Mapping[str, Any]], name: str) -> dict[int, Any]:
    return {seed: run[name] for seed, run in runs.items()}


def read(family: str, models_dir: Path) -> dict[str, Any]:
    """A family's aberrations.json; empty where nothing was measured.

    Raises:
        CheckpointError: it is damaged.
    """
    path = models_dir / family / FILE
    if not path.exists():
        return {}
    record: dict[str, Any] = files.read_json(path)
    conditions, groups = record.get("conditions"), record.get("groups")
    if not isinstance(conditions, dict) or not all(
        isinstance(each, dict) and isinstance(each.get("cells"), dict)
        for each in conditions.values()
    ):
        raise CheckpointError(f"{files.shown(path)} is damaged: expected cells in 'conditions'")
    if not isinstance(groups, dict) or not all(
        isinstance(names, list) and set(names) <= set(conditions) for names in groups.values()
    ):
        raise CheckpointError(f"{files.shown(path)} is damaged: expected conditions in 'groups'")
    return record
