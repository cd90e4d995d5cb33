"""What is known of the `photos` family: figures out of fold with intervals, and mask scores.

They come from the stored answers of networks that never saw the object: the shipped weights were
trained on all objects, so measuring them on these again would flatter them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nls_core import files
from nls_core.errors import CheckpointError
from nls_core.evidence import report, stored_runs
from nls_core.evidence.stored_runs import Run, created_with
from nls_core.families import FAMILIES, Masks
from nls_core.metrics import calibration, mask_scores, selective

REFERENCE = "zero_shot.json"
RESAMPLES, LEVEL = 1000, 0.95
METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": calibration.accuracy,
    "ece": calibration.ece,
    "nll": calibration.nll,
    "error_auroc": selective.error_auroc,
}
CONTROLS = ("centre", "random")
NAME = "photos"
MASKS = FAMILIES[NAME].masks or Masks(())
Table = list[list[str]]
Resampled = dict[str, tuple[float, Tensor]]  # name -> a figure, and (RESAMPLES,) of resamples


def gather(cells: Sequence[str], models_dir: Path) -> dict[str, Any]:
    """Figures of some cells, each with its 95 % interval, and paired differences to the first.

    Args:
        cells: `<loss>-<padding>`.
        models_dir: holds the raw results of the family.

    Returns:
        cell -> 'metrics' and 'masks' (state -> method -> score), each figure with 'value', 'low',
        'high', and from the second cell on 'difference' with its own 'low' and 'high'.

    Raises:
        CheckpointError: the raw results are missing, damaged, or lack a cell.
    """
    runs, labels = stored_runs.read(models_dir / NAME / stored_runs.FOLDER)
    lacking = [cell for cell in cells if cell not in runs]
    if lacking:
        raise CheckpointError(
            f"no raw results of {lacking} of {NAME}; `nls train --grid {NAME}` makes them"
        )
    chosen = [runs[cell][min(runs[cell])] for cell in cells]
    metrics = [_resampled_metrics(run, labels) for run in chosen]
    masks = [_resampled_masks(run) for run in chosen]
    return {
        cell: {
            "metrics": _compared(metrics[i], metrics[0] if i else None),
            "masks": _by_method(_compared(masks[i], masks[0] if i else None)),
        }
        for i, cell in enumerate(cells)
    }


@cache
def _draws(count: int) -> Tensor:
    """(RESAMPLES, count) indices, the same for all models: differences are paired."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(count, (RESAMPLES, count), generator=generator)


def _entry(value: float, drawn: Tensor) -> dict[str, float]:
    """A figure and its interval: percentiles of the resamples, moved to the figure itself."""
    drawn = drawn.double()
    tail = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = (drawn.quantile(tail) - drawn.mean() + value).tolist()
    return {"value": value, "low": low, "high": high}


def _compared(mine: Resampled, base: Resampled | None) -> dict[str, dict[str, Any]]:
    """name -> a figure with its interval, and with that of its difference to `base`."""
    found: dict[str, dict[str, Any]] = {}
    for name, (value, drawn) in mine.items():
        found[name] = dict(_entry(value, drawn))
        if base is not None:
            gap = _entry(value - base[name][0], drawn - base[name][1])
            found[name]["difference"] = {"difference": gap.pop("value"), **gap}
    return found


def _resampled_metrics(run: Run, labels: Tensor) -> Resampled:
    probs = run.logits.softmax(1)
    return {
        name: (
            metric(probs, labels),
            torch.tensor([metric(probs[i], labels[i]) for i in _draws(len(labels))]),
        )
        for name, metric in METRICS.items()
    }


def _resampled_masks(run: Run) -> Resampled:
    return {
        key: (float(scores.mean()), scores[_draws(len(scores))].mean(1))
        for key, scores in run.scores.items()
    }


def _by_method(figures: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """state -> method or control -> score -> figure, from '<state> <method> <score>'."""
    found: dict[str, dict[str, dict[str, Any]]] = {state: {} for state in MASKS.states}
    for key, figure in figures.items():
        state, method, score = key.split(" ")
        if method == "control":  # 'energy_inside_centre', or 'area': what a uniform map gets
            score, _, method = score.rpartition("_") if score != "area" else ("area", "", "uniform")
        found[state].setdefault(method, {})[score] = figure
    return found


def evaluate(ids: Sequence[str], models_dir: Path) -> dict[str, Any]:
    """The record of `nls evaluate` for models of this family; errors as `gather`."""
    cells = [model_id.split("/")[1] for model_id in ids]
    found = gather(cells, models_dir)
    return {
        "schema": 1,
        "data": "everyday-objects, every object by a network that never saw it",
        "intervals": f"95 %, {RESAMPLES} resamples of the objects, paired between models",
        "created_with": created_with(),
        "models": {f"{NAME}/{cell}": each for cell, each in found.items()},
        "zero_shot": reference(models_dir),
    }


def reference(models_dir: Path) -> dict[str, Any]:
    """ImageNet's probabilities summed per class, without any training: padding -> figures.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return dict(_compared_with(models_dir)["paddings"])


def _compared_with(models_dir: Path) -> dict[str, Any]:
    path = models_dir / NAME / REFERENCE
    record: dict[str, Any] = files.read_json(path)
    for key, kind in (("paddings", dict), ("variants", list)):
        if not isinstance(record.get(key), kind):
            raise CheckpointError(f"{files.shown(path)} is damaged: expected a {kind} in {key!r}")
    return record


def variants_table(models_dir: Path) -> Table:
    """How much of the network is trained, against the figures out of fold; in percent."""
    rows = [["what is trained", "accuracy %", "photos %", "drawings %", "ECE-15 %"]]
    kept = _compared_with(models_dir)
    each = [(f"nothing: zero-shot, {k} padding", v) for k, v in kept["paddings"].items()]
    each += [(f"{row['name']}, ce", row) for row in kept["variants"]]
    keys = ("accuracy", "accuracy_photo", "accuracy_drawing", "ece")
    return rows + [[name, *(f"{100 * found[key]:.1f}" for key in keys)] for name, found in each]


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Markdown tables of a record of `evaluate`: calibration, then mask scores; in percent."""
    metrics = {name: each["metrics"] for name, each in record["models"].items()}
    first = _calibration_table(metrics, record["zero_shot"])
    return [first, *(_mask_table(record, state) for state in MASKS.states)]


def summary(record: Mapping[str, Any]) -> Table:
    """The first of `tables`, from report.json."""
    cells = record["cells"]
    metrics = {f"{NAME}/{c}": cells[c]["intervals"] for c in cells if "intervals" in cells[c]}
    return _calibration_table(metrics, record["zero_shot"])


def _calibration_table(metrics: Mapping[str, Any], zero_shot: Mapping[str, Any]) -> Table:
    rows = [["model, out of fold", "accuracy %", "ECE-15 %", "NLL", "AUROC of errors %"]]
    scales = {"accuracy": 100, "ece": 100, "nll": 1, "error_auroc": 100}
    for name, each in metrics.items():
        rows.append([name, *(_shown(each[m], scale) for m, scale in scales.items())])
    for padding, each in zero_shot.items():
        figures = [f"{100 * each['accuracy']:.1f}", f"{100 * each['ece']:.1f}"]
        rows.append([f"zero-shot, {padding} padding", *figures, f"{each['nll']:.3f}", "-"])
    return rows


def _mask_table(record: Mapping[str, Any], state: str) -> Table:
    titles = ["pointing game %", "energy inside %", "best IoU %"]
    rows = [[f"maps on masks, {state}", "method", *titles]]
    for name, each in record["models"].items():
        found = each["masks"][state]
        for method in MASKS.methods:
            figures = [_shown(found[method][s], 100) for s in mask_scores.SCORES]
            rows.append([name, method, *figures])
    first = next(iter(record["models"].values()))["masks"][state]
    for control in CONTROLS:
        figures = [f"{100 * first[control][s]['value']:.1f}" for s in mask_scores.SCORES]
        rows.append(["control", f"{control} map", *figures])
    area = f"{100 * first['uniform']['area']['value']:.1f}"
    rows.append(["control", "uniform map", area, area, area])
    return rows


def _shown(figure: Mapping[str, Any], scale: float) -> str:
    digits = 1 if scale == 100 else 3
    value, low, high = (f"{scale * figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def build(models_dir: Path) -> dict[str, Any]:
    """Write report.json of the family: as `report.build`, and mask scores of every cell."""
    record = report.build(NAME, models_dir, f"nls train --grid {NAME}")
    names = sorted(cell for cell in record["cells"] if not cell.startswith(report.TEMPERED))
    names.sort(key=lambda cell: cell != report.BASE)  # first: all are compared with it
    found = gather(names, models_dir)
    for cell in names:
        record["cells"][cell] |= {"masks": found[cell]["masks"]}
        record["cells"][cell] |= {"intervals": found[cell]["metrics"]}
    record["zero_shot"] = reference(models_dir)
    files.write_json(models_dir / NAME / report.REPORT, record)
    return record
