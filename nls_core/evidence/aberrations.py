"""Networks that learnt from aberrant data, on clean test labels: `aberrations.json` of a family."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nls_core import files
from nls_core.errors import CheckpointError
from nls_core.evidence.cells import BASE
from nls_core.metrics import bootstrap, intervals, resampling

FILE = "aberrations.json"  # in the folder of a family
METRICS = ("accuracy", "ece", "nll", "aurc")
Logits = Mapping[str, Mapping[int, Tensor]]  # cell -> seed -> (N, K) of the test images


def basis(record: Mapping[str, Any]) -> str:
    """How long the networks of a record learnt, and from how much of the training images."""
    data, share = record["data"], record["data"].get("subset", 1.0)
    return f"{data['epochs']} epochs" + (
        f" on {100 * share:.0f} % of the images" if share < 1 else ""
    )


def cells(
    runs: Logits,
    labels: Tensor,
    *,
    resamples: int,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """`METRICS` of the cells of one condition, with their intervals and their differences to ce.

    Args:
        runs: what they answer on the test images.
        labels: (N,), clean.
        resamples: of the images.
        progress: called with 1 after each run.

    Returns:
        cell -> 'seeds' and 'metrics', as in a report.
    """
    draws = bootstrap.draws(len(labels), resamples)
    values: dict[str, dict[int, dict[str, float]]] = {}
    drawn: dict[str, dict[int, Mapping[str, Tensor]]] = {}
    for cell, seeds in runs.items():
        values[cell], drawn[cell] = {}, {}
        for seed, logits in seeds.items():
            probs = logits.softmax(1)
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
