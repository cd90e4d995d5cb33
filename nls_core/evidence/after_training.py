"""What can be made of a cell's confidence without training it again: repaired, in sets, withheld.

Every answer is judged by what the other half of the answers taught (`metrics.recalibration`), so
no figure here flatters itself; the limits for new pictures, of all answers, are in manifests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nls_core.evidence.stored_runs import Run
from nls_core.metrics import calibration, conformal, selective
from nls_core.metrics.intervals import figure
from nls_core.metrics.recalibration import RECALIBRATIONS, crossfitted, halves

SHOWN = ("accuracy", "ece", "nll")  # of recalibrated answers, keys of calibration.METRICS


def of_cell(runs: Mapping[int, Run], labels: Tensor, *, per: int = 1) -> dict[str, Any]:
    """`recalibrated`, `sets` and `selective` of a cell, over its runs.

    Args:
        runs: seed -> run.
        labels: (N,).
        per: how many answers in a row are of one object.

    Returns:
        Figures as `intervals.figure` has them, over the seeds; nothing of fewer than two objects.
    """
    if len(labels) // per < 2:
        return {}
    found = {seed: _of_run(run, labels, per) for seed, run in runs.items()}
    figures: dict[str, Any] = {}
    for part, name, key in next(iter(found.values())):
        values = {seed: each[part, name, key] for seed, each in found.items()}
        figures.setdefault(part, {}).setdefault(name, {})[key] = figure(values)
    return figures


def _of_run(run: Run, labels: Tensor, per: int) -> dict[tuple[str, str, str], float]:
    """(part, what, figure) -> value."""
    found: dict[tuple[str, str, str], float] = {}
    for name in RECALIBRATIONS:
        probs = crossfitted(name, run.logits, labels, per=per)
        for key in SHOWN:
            found["recalibrated", name, key] = calibration.METRICS[key](probs, labels)
    plain = run.logits.softmax(1)
    for name in conformal.SCORES:
        sets = conformal.crossfitted(name, plain, labels, per=per)
        found["sets", name, "coverage"], found["sets", name, "size"] = sets.coverage, sets.size
    first = halves(len(labels), per)
    found["selective", "confidence", "aurc"] = selective.aurc(plain, labels)
    found["selective", "normalized", "aurc"] = selective.normalized_aurc(run.logits, labels, first)
    return found
