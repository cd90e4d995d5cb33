"""From a finished run to a stored model: float16 weights, measured figures, manifest and card."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nls_core import files, losses, zoo
from nls_core.data import datasets
from nls_core.errors import CheckpointError, UnknownModel, brief
from nls_core.evidence.collect import SURROGATES
from nls_core.evidence.measure import measure
from nls_core.families import Family
from nls_core.families.recipe import Recipe
from nls_core.settings import Settings
from nls_core.training import loop
from nls_core.training.jobs import Job
from nls_core.training.loop import BEST, LOG
from nls_core.types import Manifest

CURVE = "training.csv"  # the log of the run, beside the weights


def accuracy(row: dict[str, Any]) -> float:
    """The validation accuracy in a row of a log."""
    return float(row["val_accuracy"])


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a run's log.

    Raises:
        CheckpointError: it is missing, or not as `train` writes it.
    """
    try:
        found = list(csv.DictReader(io.StringIO(files.read_bytes(path).decode())))
        for row in found:
            for value in row.values():
                float(value)
    except (ValueError, TypeError, csv.Error) as error:  # a row cut short has None
        raise CheckpointError(f"{files.shown(path)} is damaged: {brief(error)}") from error
    if not found or "val_accuracy" not in found[0]:
        raise CheckpointError(f"{files.shown(path)} is damaged: expected rows with 'val_accuracy'")
    return found


def publish(
    job: Job, family: Family, settings: Settings, data: Sequence[datasets.Data]
) -> Manifest:
    """Store a finished run as float16, measure what was stored on the test split, write the card.

    `data` is (train, test), as `datasets.load` gives them.
    """
    full, test = data
    index = datasets.hold_out(full)
    state = loop.load_checkpoint(job.out / BEST, job.recipe)
    job = replace(job, recipe=Recipe(**state["recipe"]))  # as it ran: with what it chose
    model = loop.make_model(job.recipe, full.take(index[0]))
    model.load_state_dict(state["model"])
    manifest = _manifest(job, family, model, full)
    with tempfile.TemporaryDirectory() as scratch:  # so that no model without figures is seen
        zoo.store(model.net, manifest, Path(scratch))
        stored, manifest = zoo.load(manifest.id, Path(scratch), settings.torch_device())
    measured = measure(stored, full.take(index[1]), test)
    manifest = zoo.with_measured(
        manifest, measured.metrics, measured.temperature, measured.reliability
    )
    manifest = zoo.store(stored.net, manifest, settings.models_dir)
    curve = zoo.folder_of(manifest.id, settings.models_dir) / CURVE
    files.write_bytes(curve, files.read_bytes(job.out / LOG))
    return manifest


def _manifest(job: Job, family: Family, model: Any, data: datasets.Data) -> Manifest:
    recipe = job.recipe
    log = rows(job.out / LOG)
    best = max(log, key=accuracy)
    model_id = _model_id(job, family)
    return Manifest(
        id=model_id,
        arch=recipe.arch,
        padding=recipe.padding,
        loss=recipe.loss,
        loss_parameters=losses.stated(recipe.loss, recipe.loss_options()),
        classes=data.classes,
        channels=data.images.shape[1],
        input_size=data.images.shape[-1],
        mean=tuple(round(float(v), 4) for v in model.mean.flatten()),
        std=tuple(round(float(v), 4) for v in model.std.flatten()),
        preprocess=data.preprocess,
        temperature=1.0,
        sha256="",
        seed=recipe.seed,
        recipe={key: value for key, value in recipe.to_dict().items() if value is not None}
        | {
            "training_command": f"nls train --grid {family.name}",
            "best_epoch": int(best["epoch"]),
            "validation_accuracy": float(best["val_accuracy"]),
            "training_seconds": round(float(log[-1]["seconds"]), 1),
        },
        command=f"nls evaluate {model_id} --only clean",
        created_with={name: version(name) for name in ("nls-lab", "torch", "torchvision", "numpy")},
    )


def _model_id(job: Job, family: Family) -> str:
    return f"{family.name}/{job.recipe.loss}-{job.recipe.padding}"


def seed_folder(runs: Path, family: Family, seed: int) -> Path:
    """Where the models of one seed lie, as a models folder of its own."""
    return runs / family.name / "seeds" / str(seed)


def publish_seeds(
    jobs: Sequence[Job],
    family: Family,
    settings: Settings,
    data: Sequence[datasets.Data],
    runs: Path,
) -> list[Manifest]:
    """Store every finished run with its seed, and of each cell the median seed as its model.

    The median is that of the best validation accuracies (the lower of two in the middle), so the
    test split chooses nothing. A cross-entropy model of another seed goes along as the surrogate
    of transfer attacks.

    Returns:
        The manifests of the family's models.
    """
    cells: dict[str, list[Manifest]] = {}
    for job in jobs:
        folder = seed_folder(runs, family, job.recipe.seed)
        manifest = _stored(job, family, folder)
        if manifest is None:
            here = settings.model_copy(update={"models_dir": folder})
            manifest = publish(job, family, here, data)
        cells.setdefault(manifest.id, []).append(manifest)
    shipped = []
    for model_id, seeds in cells.items():
        ordered = sorted(seeds, key=lambda m: float(m.recipe["validation_accuracy"]))
        median = ordered[(len(ordered) - 1) // 2]
        _copy(median, runs, family, settings.models_dir)
        if model_id == f"{family.name}/ce-zero" and len(seeds) > 1:
            other = next(m for m in seeds if m.seed != median.seed)
            _copy(other, runs, family, settings.models_dir / SURROGATES)
        shipped.append(median)
    return shipped


def _stored(job: Job, family: Family, folder: Path) -> Manifest | None:
    """The manifest of a run that is stored already, if it is of the very same recipe."""
    try:
        manifest = zoo.read_manifest(_model_id(job, family), folder)
    except (CheckpointError, UnknownModel):
        return None
    made = {key: manifest.recipe.get(key) for key in job.recipe.to_dict()}
    return manifest if job.recipe.allows(made) else None


def _copy(manifest: Manifest, runs: Path, family: Family, models_dir: Path) -> None:
    source = seed_folder(runs, family, manifest.seed) / manifest.id
    for path in source.iterdir():
        files.write_bytes(models_dir / manifest.id / path.name, files.read_bytes(path))
