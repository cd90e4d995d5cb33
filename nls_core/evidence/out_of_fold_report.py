"""What `nls evaluate` says of models measured out of fold, and the Markdown tables of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nls_core import families
from nls_core.errors import CheckpointError, InvalidInput
from nls_core.evidence import commands, out_of_fold, stored_runs
from nls_core.evidence.cells import Table, label
from nls_core.evidence.out_of_fold import REFERENCE, RESAMPLES
from nls_core.evidence.stored_runs import Runs, created_with
from nls_core.metrics import mask_scores

__all__ = ["REFERENCE", "evaluate", "gather", "summary", "tables", "variants_table"]

# part of `nls evaluate` -> what of it is kept of networks that answered out of fold
KEPT: dict[str, str] = {"clean": "metrics", "maps": "masks", "attacks": "robust"}
CONTROLS = ("centre", "random")
UNIFORM = "uniform"


def gather(
    family: str, cells: Sequence[str], models_dir: Path, parts: Sequence[str] = tuple(KEPT)
) -> dict[str, Any]:
    """Figures of some cells, each with its 95 % interval, and paired differences to the first.

    Args:
        family: one that is measured out of fold.
        cells: `<loss>-<padding>`.
        models_dir: holds the raw results of the family.
        parts: of `KEPT`.

    Returns:
        cell -> 'metrics' and 'masks', those of `parts`, as `out_of_fold` has them; and 'robust'
        where all were attacked.

    Raises:
        InvalidInput: a part that is not kept.
        CheckpointError: the raw results are missing, damaged, or lack a cell, or the attacks that
            are asked for.
    """
    _check_parts(family, parts)
    raw = models_dir / family / stored_runs.FOLDER
    runs, labels = stored_runs.read(raw)
    _check_cells(family, cells, runs)
    chosen = out_of_fold.chosen(runs, list(cells))
    kept = {KEPT[part] for part in parts}
    found: dict[str, dict[str, Any]] = {}
    if "metrics" in kept:
        renderings = stored_runs.read_renderings(raw)
        found["metrics"] = out_of_fold.metrics(chosen, labels, cells[0], renderings=renderings)
    if "masks" in kept:
        found["masks"] = out_of_fold.masks(chosen, cells[0])
    attacked = all("robust" in run.found for run in chosen.values())
    if "robust" in kept and attacked:
        found["robust"] = {
            cell: {key: run.found[key] for key in ("epsilons_255", "robust")}
            for cell, run in chosen.items()
        }
    elif "robust" in kept and tuple(parts) != tuple(KEPT):  # it was asked for
        raise CheckpointError(
            f"not all of {list(cells)} of {family} were attacked; `{commands.measure(family)}` "
            "does so"
        )
    return {cell: {name: each[cell] for name, each in found.items()} for cell in cells}


def _check_parts(family: str, parts: Sequence[str]) -> None:
    unknown = [part for part in parts if part not in KEPT]
    if unknown:
        raise InvalidInput(
            f"{family} is measured out of fold, and only the parts {list(KEPT)} are kept of it; "
            f"got {unknown}: leave them out, or name models of another family"
        )


def _check_cells(family: str, cells: Sequence[str], runs: Runs) -> None:
    lacking = [cell for cell in cells if cell not in runs]
    if lacking:
        raise CheckpointError(
            f"no raw results of {lacking} of {family}; `{commands.measure(family)}` makes them"
        )


def evaluate(
    ids: Sequence[str], models_dir: Path, parts: Sequence[str] = tuple(KEPT)
) -> dict[str, Any]:
    """The record of `nls evaluate` for models of one family; errors as `gather`.

    What belongs to the family, not to a model, stands under its name, so that the records of
    several families can be merged.
    """
    family = ids[0].split("/")[0]
    cells = [model_id.split("/")[1] for model_id in ids]
    found = gather(family, cells, models_dir, parts)
    return {
        "schema": 1,
        "data": {
            family: f"{families.of(family).recipe.dataset}, "
            "every object by a network that never saw it"
        },
        "intervals": f"95 %, {RESAMPLES} resamples of the objects, paired between models",
        "created_with": created_with(),
        "models": {f"{family}/{cell}": each for cell, each in found.items()},
        "zero_shot": {family: out_of_fold.reference(models_dir / family)["paddings"]},
    }


def variants_table(family: str, models_dir: Path) -> Table:
    """How much of the network is trained, and how, with ce; in percent but for NLL.

    By the held-out part where training measured it there; what older versions kept is of all
    objects, out of fold.
    """
    rows = out_of_fold.reference(models_dir / family)["variants"]
    prefix = "val_" if all("val_nll" in row for row in rows) else ""
    made = [["what is trained, with ce", "accuracy %", "ECE-15 %", "NLL"]]
    for row in rows:
        shares = [f"{100 * row[prefix + key]:.1f}" for key in ("accuracy", "ece")]
        made.append([row["name"], *shares, f"{row[prefix + 'nll']:.3f}"])
    return made


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Markdown tables of a record of `evaluate`: calibration, mask scores, attacks; in percent."""
    models = record["models"]
    metrics = {name: each["metrics"] for name, each in models.items() if "metrics" in each}
    (zero_shot,) = record["zero_shot"].values()
    made = [_calibration_table(metrics, zero_shot)] if metrics else []
    states = next(iter(models.values())).get("masks", {})
    made += [_mask_table(models, state) for state in states]
    return [*made, _attacked_table(models)] if "robust" in next(iter(models.values())) else made


def summary(record: Mapping[str, Any]) -> Table:
    """The first of `tables`, from a family's report.json."""
    cells = record["cells"]
    metrics = {label(c): cells[c]["intervals"] for c in cells if "intervals" in cells[c]}
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


def _attacked_table(models: Mapping[str, Any]) -> Table:
    keys = next(iter(models.values()))["robust"]["epsilons_255"]
    rows = [["accuracy %, attacked", "attack", *(f"{key}/255" for key in keys)]]
    for name, each in models.items():
        for case, values in each["robust"]["robust"].items():
            rows.append([name, case, *(f"{100 * value:.1f}" for value in values)])
    return rows


def _mask_table(models: Mapping[str, Any], state: str) -> Table:
    titles = ["pointing game %", "energy inside %", "best IoU %"]
    rows = [[f"maps on masks, {state}", "method", *titles]]
    for name, each in models.items():
        for method, found in each["masks"][state].items():
            if method not in (*CONTROLS, UNIFORM):
                rows.append([name, method, *(_shown(found[s], 100) for s in mask_scores.SCORES)])
    first = next(iter(models.values()))["masks"][state]
    for control in CONTROLS:
        figures = [f"{100 * first[control][s]['value']:.1f}" for s in mask_scores.SCORES]
        rows.append(["control", f"{control} map", *figures])
    area = f"{100 * first[UNIFORM]['area']['value']:.1f}"
    rows.append(["control", "uniform map", area, area, area])
    return rows


def _shown(figure: Mapping[str, Any], scale: float) -> str:
    digits = 1 if scale == 100 else 3
    value, low, high = (f"{scale * figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
