"""Figures of a family that is measured out of fold, with intervals over its objects, and masks.

They come from the stored answers of networks that never saw the object: the shipped weights were
trained on all objects, so measuring them on these again would flatter them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nls_core import files
from nls_core.errors import CheckpointError
from nls_core.evidence import commands, stored_runs
from nls_core.evidence.stored_runs import Run, Runs
from nls_core.metrics import bootstrap, intervals, resampling

REFERENCE = "zero_shot.json"
RESAMPLES = 1000
MEANING = {  # of attacks; as `robustness.MEANING`
    "pgd": "PGD from a random start, on the fold's network",
    "apgd-ce": "Auto-PGD on the cross-entropy, on the fold's network",
    "worst": "the worse of the two for each picture",
}
METRICS = ("accuracy", "ece", "nll", "error_auroc")  # keys of resampling.METRICS
Score = tuple[str, str, str]  # state, method or control, score
Resampled = tuple[float, Tensor]  # a figure, and (RESAMPLES,) of resamples


def chosen(runs: Runs, cells: list[str]) -> dict[str, Run]:
    """The run of each cell that ships: that of the first seed."""
    return {cell: runs[cell][min(runs[cell])] for cell in cells}


def metrics(
    runs: Mapping[str, Run], labels: Tensor, base: str | None = None, *, renderings: int = 1
) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures of some runs, each with its 95 % interval over the objects.

    Args:
        runs: cell -> run.
        labels: (N,).
        renderings: how many answers in a row are of one object.
        base: the cell that the others are compared with; None compares none.

    Returns:
        cell -> name of `METRICS` -> 'value', 'low', 'high', and against `base` 'difference' with
        its own 'low' and 'high'.
    """
    draws = bootstrap.draws(len(labels), RESAMPLES, per=renderings)
    resampled: dict[str, dict[str, Resampled]] = {}
    for cell, run in runs.items():
        probs = run.logits.softmax(1)
        drawn = resampling.resampled(probs, labels, draws, METRICS)
        resampled[cell] = {
            name: (resampling.METRICS[name](probs, labels), drawn[name]) for name in METRICS
        }
    return {
        cell: {
            name: _entry(each, resampled[base][name] if base not in (None, cell) else None)
            for name, each in mine.items()
        }
        for cell, mine in resampled.items()
    }


def masks(
    runs: Mapping[str, Run], base: str | None = None
) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Mask scores as `metrics` gives figures: cell -> state -> method or control -> score."""
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for cell, run in runs.items():
        found[cell] = {}
        for key, scores in run.scores.items():
            other = runs[base].scores[key] if base not in (None, cell) else None
            entry = _entry(_resampled(scores), None if other is None else _resampled(other))
            state, method, score = key
            found[cell].setdefault(state, {}).setdefault(method, {})[score] = entry
    return found


def _resampled(scores: Tensor) -> Resampled:
    return float(scores.mean()), scores[bootstrap.draws(len(scores), RESAMPLES)].mean(1)


def _entry(mine: Resampled, base: Resampled | None) -> dict[str, Any]:
    """A figure with its interval, and with that of its difference to `base`."""
    value, drawn = mine
    own = intervals.interval({0: value}, {0: drawn})
    found: dict[str, Any] = {"value": value, "low": own and own.low, "high": own and own.high}
    if base is not None:
        gap = intervals.difference({0: value}, {0: base[0]}, ({0: drawn}, {0: base[1]}))
        found["difference"] = gap and gap.as_difference()
    return found


def extend(
    record: dict[str, Any], runs: Runs, labels: Tensor, folder: Path, *, base: str
) -> dict[str, Any]:
    """A family's report with what this protocol adds: mask scores, intervals, the reference.

    Differences in metrics to the baseline are in the report already, as `vs_ce_zero`.

    Args:
        record: as `report.build` makes it of any family.
        runs, labels: the raw results.
        folder: of the family; holds `REFERENCE`.
        base: the cell with which mask scores are compared, where there is one.

    Raises:
        CheckpointError: see `reference`.
    """
    one = chosen(runs, sorted(runs))
    renderings = stored_runs.read_renderings(folder / stored_runs.FOLDER)
    of_masks = masks(one, base if base in one else None)
    of_metrics = metrics(one, labels, renderings=renderings)
    cells = {
        cell: entry
        | ({"masks": of_masks[cell], "intervals": of_metrics[cell]} if cell in one else {})
        for cell, entry in record["cells"].items()
    }
    data = record["data"] | {"objects": len(labels) // renderings, "renderings": renderings}
    attacked = [run.found["epsilons_255"] for run in one.values() if "epsilons_255" in run.found]
    if attacked:
        data |= {"attacks": MEANING, "epsilons_255": attacked[0]}
    return record | {
        "data": data,
        "cells": cells,
        "zero_shot": reference(folder)["paddings"],
    }


def reference(folder: Path) -> dict[str, Any]:
    """ImageNet's probabilities summed per class, without any training, and partly trained ones.

    Args:
        folder: of the family, with its raw results: the reference must be of as many objects.

    Returns:
        'paddings': padding -> figures; 'variants': how much of the network is trained -> figures.

    Raises:
        CheckpointError: the file is missing, damaged or of another data set.
    """
    path = folder / REFERENCE
    record: dict[str, Any] = files.read_json(path)
    for key, kind in (("paddings", dict), ("variants", list)):
        if not isinstance(record.get(key), kind):
            raise CheckpointError(
                f"{files.shown(path)} is damaged: expected a {kind.__name__} in {key!r}"
            )
    raw = folder / stored_runs.FOLDER
    objects = len(stored_runs.read_labels(raw)) // stored_runs.read_renderings(raw)
    if record.get("images") != objects:
        raise CheckpointError(
            f"{files.shown(path)} is of another data set: expected {objects} objects as in the "
            f"raw results, got {record.get('images')}; "
            f"`{commands.measure(folder.name)}` makes both"
        )
    return record
