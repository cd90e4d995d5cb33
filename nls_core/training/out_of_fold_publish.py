"""The protocol `out_of_fold` from a family's declaration to stored models, figures and report."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nls_core import files, nets
from nls_core.data import objects
from nls_core.errors import CheckpointError, choose
from nls_core.evidence import report, stored_runs
from nls_core.evidence.measure import measure_out_of_fold
from nls_core.evidence.out_of_fold import REFERENCE
from nls_core.families import Family
from nls_core.metrics import calibration, unfamiliar
from nls_core.settings import Settings
from nls_core.training import (
    finetune,
    imagenet,
    out_of_fold_regime,
    out_of_fold_search,
    out_of_fold_variants,
)
from nls_core.training.options import Options, StageProgress, quiet
from nls_core.training.out_of_fold import Cell, curve, name_of
from nls_core.training.out_of_fold_files import (
    RESULT,
    ZERO_SHOT,
    folder_of,
    kept_search,
    read,
    same_data,
)
from nls_core.training.out_of_fold_grid import recipes_of, train_parts
from nls_core.training.publish import Outcome, manifest_of, publish, write_search
from nls_core.types import Manifest


def train_family(
    family: Family, settings: Settings, options: Options, progress: StageProgress = quiet
) -> list[Manifest]:
    """Search, train, store and report a family; what is finished is not done again.

    Of each cell seed 0 ships; of further seeds the raw results are stored.

    Args:
        family: its data set is one of `objects.COLLECTIONS`.
        settings: where models and data are.
        options: all but `download` are honoured; with `jobs` above 1, paddings are trained side
            by side. The network of each fold is kept in `runs`.
        progress: called with what is done, and the images it took so far.

    Raises:
        UnknownName: the data set has no objects and folds.
        DatasetMissing: it is not there.
        ExtraMissing: the ImageNet weights are not installed.
        CheckpointError: a kept result is damaged, or nothing is finished.
        InvalidInput: what is kept in `runs` is of other objects.
        Collapsed: a network names one class, or less right than ImageNet alone.
    """
    read_objects = choose("collection of objects", family.recipe.dataset, objects.COLLECTIONS)
    collection, folder = read_objects(settings.data_dir), options.runs / family.name
    same_data(collection, folder)
    if not options.finished:
        _train(family, collection, folder, options, progress)
    recipes = recipes_of(family, seeds=options.seeds)
    cells = [
        cell for r in recipes if (cell := read(folder_of(folder, r) / RESULT, r, family.attacked))
    ]
    if not cells:
        raise CheckpointError(
            f"there is no finished run in {folder}; `{family.command}` makes them"
        )
    made = publish_cells(family, cells, collection, settings.models_dir)
    record_search(family, folder, settings.models_dir)
    out_of_fold_regime.record(family, folder, settings.models_dir)
    record_reference(family, collection, folder, settings.models_dir)
    report.build(family.name, settings.models_dir)
    return made


def _train(
    family: Family,
    collection: objects.Collection,
    folder: Path,
    options: Options,
    progress: StageProgress,
) -> None:
    """Train what is missing: the cells, the variants, and the runs without early stop."""
    images: Counter[str] = Counter()

    def count(what: str, more: int) -> None:
        images[what] += more
        progress(what, images[what], None)

    train_parts(family, collection, folder, count, jobs=options.jobs, seeds=options.seeds)
    out_of_fold_variants.train(family, collection, folder, count)
    out_of_fold_regime.train(family, collection, folder, count)


def publish_cells(
    family: Family, cells: Iterable[Cell], collection: objects.Collection, models_dir: Path
) -> list[Manifest]:
    """Store the raw results of all cells, and the networks of seed 0; returns their manifests."""
    made = []
    for cell in cells:
        result = outcome(family, cell, collection)
        if cell.recipe.seed == 0:
            made.append(publish(result, models_dir))
            continue
        with tempfile.TemporaryDirectory() as scratch:  # no second network of a cell ships
            publish(result, Path(scratch))
            raw = Path(family.name) / stored_runs.FOLDER / name_of(cell.recipe)
            for path in (Path(scratch) / raw).iterdir():
                files.write_bytes(models_dir / raw / path.name, files.read_bytes(path))
    return made


def per_rendering(values: Tensor, logits: Tensor) -> Tensor:
    """Values (N,) of objects, for the answers (N·T, K) of their renderings: (N·T,)."""
    return values.repeat_interleave(len(logits) // len(values))


def outcome(family: Family, cell: Cell, collection: objects.Collection) -> Outcome:
    """A cell's network, its figures out of fold, and the answers and scores they rest on."""
    labels = per_rendering(collection.labels(), cell.logits)
    folds = per_rendering(collection.folds(), cell.logits)
    measured = measure_out_of_fold(cell.logits, labels, folds)
    measured = replace(measured, metrics=dict(measured.metrics) | by_kind(cell.logits, collection))
    net = nets.build(cell.recipe.arch, len(collection.classes), 3, cell.recipe.padding)
    net.load_state_dict(dict(cell.state))
    model = nets.Classifier(net, imagenet.MEAN, imagenet.STD)
    manifest = manifest_of(
        family,
        cell.recipe,
        model,
        classes=collection.classes,
        size=objects.SIZE,
        preprocess="center-crop",
        stated=finetune.stated(cell.recipe)
        | {
            "training_command": family.command,
            "settings_of_folds": [dict(each) for each in cell.settings],
            "test_renderings": len(cell.logits) // len(collection.objects),
        },
    )
    manifest = replace(manifest, ood=_unfamiliar(family, cell, collection.folds()))
    arrays = {f"mask {name}": v.numpy().astype("float32") for name, v in cell.scores.items()}
    arrays |= {f"right {case}": right.numpy() for case, right in cell.right.items()}
    return Outcome(
        manifest,
        model,
        measured,
        labels=labels,
        renderings=len(cell.logits) // len(collection.objects),
        arrays=arrays,
        ood={"backgrounds": float(manifest.ood["auroc"])} if manifest.ood else {},
        found=_attacked(family, cell, collection.labels()),
        rows=curve(cell, collection.labels()),
    )


def _attacked(family: Family, cell: Cell, labels: Tensor) -> dict[str, Any]:
    """Accuracy under attack and calibration there, as raw results hold them; `labels` (N,)."""
    if family.attacked is None:
        return {}
    probs = [logits.softmax(1) for logits in cell.attacked]
    return {
        "epsilons_255": [f"{epsilon * 255:g}" for epsilon in family.attacked.epsilons],
        "robust": {
            case: [float(row.double().mean()) for row in right]
            for case, right in cell.right.items()
        },
        "attacked": {
            "ece": [calibration.ece(p, labels) for p in probs],
            "mean_confidence": [float(p.amax(1).mean()) for p in probs],
        },
    }


def by_kind(logits: Tensor, collection: objects.Collection) -> dict[str, float]:
    """Accuracy on the objects that are photos, and on those that are drawings."""
    right = (logits.argmax(1) == per_rendering(collection.labels(), logits)).double()
    kinds = [stamp.kind for stamp in collection.objects]
    return {
        f"accuracy_{kind}": float(
            right[per_rendering(torch.tensor([each == kind for each in kinds]), logits)].mean()
        )
        for kind in sorted(set(kinds))
    }


def _unfamiliar(family: Family, cell: Cell, folds: Tensor) -> dict[str, Any]:
    """The score of the hint, its threshold, and how well it tells objects from bare backgrounds.

    All of networks that saw neither.
    """
    names = family.hints.get(cell.recipe.loss, ())
    if not names:
        return {}
    folds = per_rendering(folds, cell.logits)
    pairs = [(cell.logits[folds == fold], outside) for fold, outside in enumerate(cell.outside)]
    score, told = unfamiliar.best(names, lambda name: pairs)
    return unfamiliar.entry(
        score,
        cell.logits,
        auroc=told,
        outside=len(cell.outside[0][1::2]),
        command=family.command,
    )


def record_search(family: Family, folder: Path, models_dir: Path) -> None:
    """search.json: all that was tried, and what the shipped networks have.

    Pages show `tried` and `chosen`, which are those of zero padding; partial padding, which has a
    search of its own, stands beside them.
    """
    found: dict[str, dict[str, Any]] = {}
    for padding in family.paddings:
        rows = {loss: kept_search(folder, f"{loss}-{padding}") for loss in family.rates}
        rows = {loss: each for loss, each in rows.items() if each}
        found[padding] = {
            "tried": [{"loss": loss} | row for loss, each in rows.items() for row in each],
            "chosen": {loss: out_of_fold_search.chosen(each) for loss, each in rows.items()},
        }
    first, *others = found
    write_search(
        family,
        models_dir,
        criterion=out_of_fold_search.CRITERION,
        tried=[row for row in found[first]["tried"] if "val_accuracy" in row],
        diverged=[row for row in found[first]["tried"] if "val_accuracy" not in row],
        chosen={loss: settings["lr"] for loss, settings in found[first]["chosen"].items()},
        more={
            "options": {p: each["chosen"] for p, each in found.items()},
            **{padding: found[padding]["tried"] for padding in others},
        },
    )


def record_reference(
    family: Family, collection: objects.Collection, folder: Path, models_dir: Path
) -> None:
    """`REFERENCE`: the figures without training, and of partly trained networks."""
    record = {
        "schema": 1,
        "command": family.command,
        "images": len(collection.objects),
        "paddings": zero_shot(family, collection, folder),
        "variants": out_of_fold_variants.kept(family, folder),
    }
    files.write_json(models_dir / family.name / REFERENCE, record)


def zero_shot(
    family: Family, collection: objects.Collection, folder: Path
) -> dict[str, dict[str, Any]]:
    """What ImageNet's own probabilities, summed per class, get on the same test, by padding."""
    found: dict[str, dict[str, Any]] = {}
    for padding in family.paddings:
        path = folder / padding / ZERO_SHOT
        if path.exists():
            logits = files.read_checkpoint(path)["logits"]
            labels, probs = per_rendering(collection.labels(), logits), logits.softmax(1)
            figures = {name: each(probs, labels) for name, each in calibration.METRICS.items()}
            found[padding] = figures | by_kind(probs, collection)
    return found
