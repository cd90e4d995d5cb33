"""`nls train --grid photos`: every cell trained once, resumable, then stored and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nls_core import families, files, losses, nets, zoo
from nls_core.data import objects
from nls_core.errors import CheckpointError, brief
from nls_core.evidence import out_of_fold_report, stored_runs
from nls_core.evidence.collect import Measurements
from nls_core.evidence.measure import Measured, figures, predict
from nls_core.metrics import calibration, unfamiliar
from nls_core.metrics.selective import auroc
from nls_core.settings import Settings
from nls_core.training import finetune, imagenet, out_of_fold
from nls_core.training.finetune import Plan, PreparedFolds
from nls_core.training.out_of_fold import PLAN, Cell, Progress, name_of, silent
from nls_core.types import Manifest

NAME = "photos"
PADDINGS = families.of(NAME).paddings
COMMAND = f"nls train --grid {NAME}"
RESULT, SEARCH, VARIANTS = "result.pt", "search.json", "variants.json"
VERSIONS = ("nls-lab", "torch", "torchvision", "timm", "numpy")


def train_photos(
    settings: Settings, *, runs: Path, finished: bool = False, report: Progress = silent
) -> list[Manifest]:
    """Search, train, store and report the family; what is finished is not done again.

    Args:
        settings: where models and data are.
        runs: folder of the runs; each cell's result is kept there.
        finished: train nothing, publish what is finished.
        report: called with what is done, and the images it took.

    Raises:
        DatasetMissing: everyday-objects is not there.
        ExtraMissing: the ImageNet weights are not installed.
        CheckpointError: a kept result is damaged, or nothing is finished.
    """
    collection, folder = objects.read(settings.data_dir), runs / NAME
    for padding in () if finished else PADDINGS:
        train_padding(padding, collection, folder, report)
    plans = {name_of(plan): plan for padding in PADDINGS for plan in plans_of(padding)}
    cells = [cell for name, plan in plans.items() if (cell := read(folder / name / RESULT, plan))]
    if not cells:
        raise CheckpointError(f"there is no finished run in {folder}; `{COMMAND}` makes them")
    made = [publish(cell, collection, settings) for cell in cells]
    _write_search(folder, settings.models_dir)
    variants = compare_variants(collection, folder, report, finished=finished)
    _write_reference(collection, folder, settings.models_dir, variants, report)
    out_of_fold_report.build(settings.models_dir)
    return made


def plans_of(padding: str) -> list[Plan]:
    """The plan of every loss; the learning rate is still to be found."""
    return [replace(PLAN, loss=loss, padding=padding) for loss in families.of(NAME).rates]


def train_padding(
    padding: str, collection: objects.Collection, folder: Path, report: Progress = silent
) -> None:
    """Train what is missing with one padding; its cells share the frozen blocks' features.

    The rates are those that the search with zero padding finds.
    """
    missing = [
        plan for plan in plans_of(padding) if not read(folder / name_of(plan) / RESULT, plan)
    ]
    if not missing:
        return
    prepared = finetune.prepare(missing[0], collection, lambda n: report(f"{padding}: features", n))
    for plan in missing:
        cell = out_of_fold.train(plan, _searched(plan, prepared, folder, report), prepared, report)
        files.write_checkpoint(folder / name_of(plan) / RESULT, asdict(cell))


def _searched(
    plan: Plan, prepared: PreparedFolds, folder: Path, report: Progress
) -> list[dict[str, float]]:
    """The rows of a loss's search, kept in a file of its own."""
    path = folder / "search" / f"{plan.loss}.json"
    rates = families.of(NAME).rates[plan.loss]
    if path.exists():
        rows: list[dict[str, float]] = files.read_json(path, list)
        if tuple(dict.fromkeys(row["lr"] for row in rows)) == rates:
            return rows
    rows = out_of_fold.search(plan, prepared, rates, report)
    files.write_json(path, rows)
    return rows


def read(path: Path, plan: Plan) -> Cell | None:
    """A kept result, if it is there and of the same plan but for the rate that was found.

    Raises:
        CheckpointError: it is damaged.
    """
    if not path.exists():
        return None
    kept = files.read_checkpoint(path)
    try:
        made = Plan(**kept.pop("plan"))
        same = replace(made, lr=plan.lr) == plan
        return Cell(plan=made, **kept) if same else None
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{files.shown(path)} is damaged ({brief(error)}); remove it to train anew"
        ) from error


def publish(cell: Cell, collection: objects.Collection, settings: Settings) -> Manifest:
    """Store a cell's network and its raw results."""
    labels, folds = collection.labels(), collection.folds()
    measured = measure(cell.logits, labels, folds)
    net = nets.build(imagenet.ARCH, len(collection.classes), 3, cell.plan.padding)
    net.load_state_dict(dict(cell.state))
    manifest = _manifest(cell, collection, measured)
    manifest = zoo.store(net, manifest, settings.models_dir)
    shifted = cell.logits - cell.logits.amax(1, keepdim=True)
    arrays = {"logits": shifted.numpy().astype("float16")}
    arrays |= {
        f"mask {name}": values.numpy().astype("float32") for name, values in cell.scores.items()
    }
    found = {
        "metrics": dict(manifest.metrics),
        "temperature": measured.temperature,
        "reliability": dict(measured.reliability),
        "ood": {"backgrounds": manifest.ood["auroc"]},
    }
    evidence = Measurements(manifest, found, arrays)
    stored_runs.write(evidence, labels, [], settings.models_dir / NAME / stored_runs.FOLDER)
    return manifest


def measure(logits: Tensor, labels: Tensor, folds: Tensor) -> Measured:
    """Figures of answers out of fold; the temperature of a fold is fitted on the other folds."""
    calibrated = torch.zeros_like(logits)
    for fold in sorted(set(folds.tolist())):
        held = folds == fold
        temperature = calibration.fit_temperature(logits[~held], labels[~held])
        calibrated[held] = calibration.with_temperature(logits[held], temperature)
    return figures(logits, calibrated, labels, calibration.fit_temperature(logits, labels))


def by_kind(logits: Tensor, collection: objects.Collection) -> dict[str, float]:
    """Accuracy on the objects that are photos, and on those that are drawings."""
    right = (logits.argmax(1) == collection.labels()).double()
    kinds = [stamp.kind for stamp in collection.objects]
    return {
        f"accuracy_{kind}": float(right[torch.tensor([each == kind for each in kinds])].mean())
        for kind in sorted(set(kinds))
    }


def _unfamiliar(cell: Cell) -> dict[str, Any]:
    """The threshold of the hint, and how well its score tells objects from bare backgrounds."""
    score = families.of(NAME).hints[cell.plan.loss]
    found = _auroc(score, cell.logits, cell.outside)
    return unfamiliar.entry(
        score, cell.logits, auroc=found, outside=len(cell.outside), command=COMMAND
    )


def _auroc(name: str, known: Tensor, outside: Tensor) -> float:
    return auroc(unfamiliar.scores(name, known), unfamiliar.scores(name, outside))


def _manifest(cell: Cell, collection: objects.Collection, measured: Measured) -> Manifest:
    plan = cell.plan
    model_id = f"{NAME}/{name_of(plan)}"
    return Manifest(
        id=model_id,
        arch=imagenet.ARCH,
        padding=plan.padding,
        loss=plan.loss,
        loss_parameters=losses.stated(plan.loss, plan.loss_options()),
        classes=collection.classes,
        channels=3,
        input_size=objects.SIZE,
        mean=imagenet.MEAN,
        std=imagenet.STD,
        preprocess="center-crop",
        temperature=measured.temperature,
        sha256="",
        seed=plan.seed,
        recipe=finetune.recipe(plan)
        | {"training_command": COMMAND, "rates_of_folds": list(cell.rates)},
        metrics=dict(measured.metrics) | by_kind(cell.logits, collection),
        reliability=dict(measured.reliability),
        command=f"nls evaluate {model_id}",
        created_with={name: version(name) for name in VERSIONS},
        ood=_unfamiliar(cell),
    )


def _write_search(folder: Path, models_dir: Path) -> None:
    """search.json: every rate that was tried, and the one that the shipped network has."""
    found: dict[str, Sequence[dict[str, float]]] = {
        path.stem: files.read_json(path, list)
        for path in sorted((folder / "search").glob("*.json"))
    }
    record = {
        "schema": 1,
        "command": COMMAND,
        "criterion": "accuracy, then NLL, on the next fold of a network trained on the other three",
        "tried": [{"loss": loss} | row for loss, rows in found.items() for row in rows],
        "chosen": {loss: out_of_fold.chosen(rows) for loss, rows in found.items()},
    }
    files.write_json(models_dir / NAME / SEARCH, record)


def compare_variants(
    collection: objects.Collection,
    folder: Path,
    report: Progress = silent,
    *,
    finished: bool = False,
) -> list[dict[str, Any]]:
    """How much is trained against how good it gets: the rows of variants.json, kept one by one.

    With `finished` nothing is trained, and only what is kept is told.
    """
    path = folder / VARIANTS
    rows: list[dict[str, Any]] = files.read_json(path, list) if path.exists() else []
    for name, plan in () if finished else out_of_fold.VARIANTS.items():
        if any(row["plan"] == asdict(plan) for row in rows):
            continue
        prepared = finetune.prepare(plan, collection, lambda n: report("variants: features", n))
        logits = out_of_fold.out_of_fold(plan, prepared, report)
        rows.append({"name": name, "plan": asdict(plan)} | _figures(logits.softmax(1), collection))
        files.write_json(path, rows)
    return rows


def _figures(probs: Tensor, collection: objects.Collection) -> dict[str, Any]:
    labels = collection.labels()
    found = {name: metric(probs, labels) for name, metric in calibration.METRICS.items()}
    return found | by_kind(probs, collection)


def _reference(
    collection: objects.Collection, folder: Path, report: Progress
) -> dict[str, dict[str, Any]]:
    """What ImageNet's own probabilities, summed per class, get on the same test, by padding."""
    path = folder / "zero_shot.json"
    if not path.exists():
        test, found = objects.fixed(collection).images, {}
        for padding in PADDINGS:
            model = nets.Classifier(imagenet.load(padding), imagenet.MEAN, imagenet.STD)
            model.to(memory_format=torch.channels_last)
            logits = predict(model, test, report=lambda n: report("zero-shot", n))
            probs = imagenet.zero_shot(logits, collection.classes)
            found[padding] = _figures(probs, collection)
        files.write_json(path, found)
    kept: dict[str, dict[str, Any]] = files.read_json(path)
    return kept


def _write_reference(
    collection: objects.Collection,
    folder: Path,
    models_dir: Path,
    variants: list[dict[str, Any]],
    report: Progress,
) -> None:
    """zero_shot.json: the reference, and how much training more blocks is worth."""
    record = {
        "schema": 1,
        "command": COMMAND,
        "images": len(collection.objects),
        "paddings": _reference(collection, folder, report),
        "variants": variants,
    }
    files.write_json(models_dir / NAME / out_of_fold_report.REFERENCE, record)
