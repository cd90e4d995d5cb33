"""From what a cell came to, by whichever protocol, to a stored model with its figures and card."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from nls_core import files, losses, nets, zoo
from nls_core.errors import CheckpointError, brief
from nls_core.evidence import stored_runs
from nls_core.evidence.collect import Measurements
from nls_core.evidence.measure import Measured
from nls_core.families import Family
from nls_core.families.recipe import Recipe
from nls_core.types import Manifest

LIBRARIES = ("nls-lab", "torch", "torchvision", "numpy")  # what weights depend on

CURVE = "training.csv"  # the log of the run, beside the weights
SEARCH = "search.json"  # in the folder of the family: what the learning-rate search found


@dataclass(frozen=True)
class Outcome:
    """What one cell came to: all that is stored of it, the same for both protocols.

    `manifest` is from `manifest_of`, without figures; `model` has the weights that ship, and
    `measured` what they are worth. `curve` is the log of the run, empty where there is none.
    Where the figures rest on answers that no stored model can give again, these are stored too:
    `labels` (N,) of them, of which `renderings` in a row are of one object, further raw results in
    `arrays` and `found`, the rows of the run's log, and `ood` as `collect` has it.
    """

    manifest: Manifest
    model: nets.Classifier
    measured: Measured
    curve: bytes = b""
    labels: Tensor | None = None
    renderings: int = 1
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    ood: Mapping[str, float] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Mapping[str, str]] = ()


def manifest_of(
    family: Family,
    recipe: Recipe,
    model: nets.Classifier,
    *,
    classes: tuple[str, ...],
    size: int,
    preprocess: str,
    stated: Mapping[str, Any],
) -> Manifest:
    """The manifest of a trained model, its figures still to come.

    Args:
        family: gives the id its first part.
        recipe: what was trained.
        model: normalizes as the manifest says.
        classes: the names of the logits.
        size: edge of its input in pixels.
        preprocess: a key of `images.PREPROCESS`.
        stated: the entries of `recipe`, beside the command that trains it.
    """
    model_id = f"{family.name}/{recipe.loss}-{recipe.padding}"
    mean, std = (tuple(round(float(v), 4) for v in t.flatten()) for t in (model.mean, model.std))
    return Manifest(
        id=model_id,
        arch=recipe.arch,
        padding=recipe.padding,
        loss=recipe.loss,
        loss_parameters=losses.stated(recipe.loss, recipe.loss_options()),
        classes=classes,
        channels=len(mean),
        input_size=size,
        mean=mean,
        std=std,
        preprocess=preprocess,
        temperature=1.0,
        sha256="",
        seed=recipe.seed,
        recipe=stated,
        command=f"nls evaluate {model_id}",
        created_with={name: version(name) for name in LIBRARIES},
    )


def publish(outcome: Outcome, models_dir: Path) -> Manifest:
    """Store a cell: its network as float16, manifest and card, log and raw results.

    Raises:
        CheckpointError: a weight is not finite in float16.
        NotWritten: the disk is full.
    """
    measured = outcome.measured
    manifest = zoo.with_measured(
        outcome.manifest,
        measured.metrics,
        measured.temperature,
        measured.reliability,
        measured.limits,
    )
    manifest = zoo.store(outcome.model.net, manifest, models_dir)
    if outcome.curve:
        files.write_bytes(zoo.folder_of(manifest.id, models_dir) / CURVE, outcome.curve)
    if outcome.labels is not None:
        shifted = measured.logits - measured.logits.amax(1, keepdim=True)
        arrays = {"logits": shifted.numpy().astype("float16")} | dict(outcome.arrays)
        found = {
            "metrics": dict(manifest.metrics),
            "temperature": measured.temperature,
            "reliability": dict(measured.reliability),
            "ood": dict(outcome.ood),
        } | dict(outcome.found)
        folder = models_dir / manifest.family / stored_runs.FOLDER
        evidence = Measurements(manifest, found, arrays)
        stored_runs.write(
            evidence, outcome.labels, outcome.rows, folder, renderings=outcome.renderings
        )
    return manifest


def write_search(
    family: Family,
    models_dir: Path,
    *,
    criterion: str,
    tried: Sequence[Mapping[str, Any]],
    diverged: Sequence[Mapping[str, Any]] = (),
    chosen: Mapping[str, float],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Record the search of learning rates: the rows that were tried, and the chosen rates."""
    record = {
        "schema": 1,
        "command": family.command,
        "criterion": criterion,
        "epochs": family.search_epochs,
        "tried": list(tried),
        "diverged": list(diverged),
        "chosen": dict(chosen),
        **(more or {}),
    }
    files.write_json(models_dir / family.name / SEARCH, record, indent=2)


def chosen_rates(family: Family, names: Iterable[str], models_dir: Path) -> dict[str, float]:
    """Loss -> the rate that the family's search chose.

    Raises:
        CheckpointError: it has none of one of the losses; the message says what makes it.
    """
    path = models_dir / family.name / SEARCH
    chosen = files.read_json(path).get("chosen", {}) if path.exists() else {}
    asked = tuple(names)
    if missing := [loss for loss in asked if loss not in chosen]:
        raise CheckpointError(
            f"{files.shown(path)} has no learning rate of {missing}; `{family.command}` makes it"
        )
    return {loss: float(chosen[loss]) for loss in asked}


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
