"""The protocol `split`: a finished run as an outcome, and of several seeds the one that ships."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nls_core import files, zoo
from nls_core.data import datasets
from nls_core.errors import CheckpointError, UnknownModel
from nls_core.evidence.collect import SURROGATES
from nls_core.evidence.measure import measure
from nls_core.families import Family
from nls_core.families.recipe import Recipe
from nls_core.settings import Settings
from nls_core.training import checkpoints, loop
from nls_core.training.checkpoints import BEST, BEST_NLL, LOG
from nls_core.training.jobs import Job
from nls_core.training.publish import Outcome, manifest_of, publish, rows
from nls_core.types import Manifest


def outcome(job: Job, family: Family, settings: Settings, data: Sequence[datasets.Data]) -> Outcome:
    """A finished run as float16 weights, measured on the test split.

    `data` is (train, test), as `datasets.load` gives them.
    """
    full, test = data
    with tempfile.TemporaryDirectory() as scratch:  # so that no model without figures is seen
        manifest = store(job, family, full, Path(scratch))
        stored, manifest = zoo.load(manifest.id, Path(scratch), settings.torch_device())
    measured = measure(stored, full.take(datasets.hold_out(full)[1]), test)
    return Outcome(manifest, stored, measured, curve=files.read_bytes(job.out / LOG))


def store(
    job: Job,
    family: Family,
    full: datasets.Data,
    folder: Path,
    *,
    model_id: str | None = None,
    early: bool = False,
) -> Manifest:
    """Store the weights of a finished run in a models folder, as float16 and without figures.

    Args:
        job: finished.
        family: what it belongs to.
        full: the training split.
        folder: takes the model.
        model_id: None takes `<family>/<loss>-<padding>`.
        early: take the epoch of the lowest validation NLL, not that of the highest accuracy.
    """
    name, column = (BEST_NLL, "val_nll") if early else (BEST, "val_accuracy")
    state = checkpoints.read(job.out / name, job.recipe)
    recipe = Recipe(**state["recipe"])  # as it ran: with what it chose
    model = loop.make_model(recipe, full.take(datasets.hold_out(full)[0]))
    model.load_state_dict(state["model"])
    log = rows(job.out / LOG)
    best = min(log, key=lambda row: float(row[column]) * (1 if early else -1))
    given = {key: value for key, value in recipe.to_dict().items() if value is not None}
    manifest = manifest_of(
        family,
        recipe,
        model,
        classes=full.classes,
        size=full.images.shape[-1],
        preprocess=full.preprocess,
        stated=given
        | {
            "training_command": family.command,
            "best_epoch": int(best["epoch"]),
            "validation_accuracy": float(best["val_accuracy"]),
            "training_seconds": round(float(log[-1]["seconds"]), 1),
        },
    )
    manifest = replace(manifest, command=f"{manifest.command} --only clean")
    return zoo.store(model.net, replace(manifest, id=model_id or manifest.id), folder)


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
            manifest = publish(outcome(job, family, here, data), folder)
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
