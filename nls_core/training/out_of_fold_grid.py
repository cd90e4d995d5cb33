"""The protocol `out_of_fold`: every cell trained once, resumable, then stored and reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nls_core import files, nets
from nls_core.data import objects
from nls_core.errors import CheckpointError, InvalidInput, brief, choose
from nls_core.evidence import report
from nls_core.evidence.measure import measure_out_of_fold, predict
from nls_core.evidence.out_of_fold import REFERENCE
from nls_core.families import Family
from nls_core.families.recipe import Recipe, with_overrides
from nls_core.metrics import calibration, unfamiliar
from nls_core.metrics.selective import auroc
from nls_core.settings import Settings
from nls_core.training import finetune, imagenet, out_of_fold
from nls_core.training.finetune import PreparedFolds
from nls_core.training.options import Options, StageProgress, quiet
from nls_core.training.out_of_fold import Cell, Progress, name_of, silent
from nls_core.training.publish import Outcome, manifest_of, publish, write_search
from nls_core.types import Manifest

RESULT, VARIANTS, DATA = "result.pt", "variants.json", "data.json"


def train_family(
    family: Family, settings: Settings, options: Options, progress: StageProgress = quiet
) -> list[Manifest]:
    """Search, train, store and report a family; what is finished is not done again.

    Args:
        family: its data set is one of `objects.COLLECTIONS`.
        settings: where models and data are.
        options: `runs` and `finished` are honoured; each cell's result is kept in `runs`.
        progress: called with what is done, and the images it took so far.

    Raises:
        UnknownName: the data set has no objects and folds.
        DatasetMissing: it is not there.
        ExtraMissing: the ImageNet weights are not installed.
        CheckpointError: a kept result is damaged, or nothing is finished.
        InvalidInput: what is kept in `runs` is of other objects.
    """
    read_objects = choose("collection of objects", family.recipe.dataset, objects.COLLECTIONS)
    collection, folder = read_objects(settings.data_dir), options.runs / family.name
    _same_data(collection, folder)
    counts: Counter[str] = Counter()

    def tell(what: str, images: int) -> None:
        counts[what] += images
        progress(what, counts[what], None)

    for padding in () if options.finished else family.paddings:
        train_padding(family, padding, collection, folder, tell)
    kept = [read(folder / name_of(recipe) / RESULT, recipe) for recipe in recipes_of(family)]
    cells = [cell for cell in kept if cell]
    if not cells:
        raise CheckpointError(
            f"there is no finished run in {folder}; `{family.command}` makes them"
        )
    made = [publish(outcome(family, cell, collection), settings.models_dir) for cell in cells]
    record_search(family, folder, settings.models_dir)
    reference = {
        "schema": 1,
        "command": family.command,
        "images": len(collection.objects),
        "paddings": zero_shot(family, collection, folder, tell),
        "variants": compare_variants(family, collection, folder, tell, finished=options.finished),
    }
    files.write_json(settings.models_dir / family.name / REFERENCE, reference)
    report.build(family.name, settings.models_dir)
    return made


def _same_data(collection: objects.Collection, folder: Path) -> None:
    """Note of which objects the runs of a folder are, or refuse those of others."""
    path, digest = folder / DATA, collection.digest()
    # folders of older versions have no note; they are of the one data set there was
    kept = files.read_json(path).get("digest") if path.exists() else digest
    if kept != digest:
        raise InvalidInput(
            f"the runs in {folder} are of other objects than those in {collection.root}; "
            "give another folder with --runs, or remove this one"
        )
    if not path.exists():
        files.write_json(path, {"digest": digest})


def recipes_of(family: Family, padding: str | None = None) -> list[Recipe]:
    """The recipe of every cell, or of those with one padding; the rate is still to be found."""
    return [
        with_overrides(family.recipe, loss=loss, padding=each, **family.fixed.get(loss, {}))
        for each in family.paddings
        for loss, its in family.pairs()
        if its == each and padding in (None, each)
    ]


def train_padding(
    family: Family,
    padding: str,
    collection: objects.Collection,
    folder: Path,
    progress: Progress = silent,
) -> None:
    """Train what is missing with one padding; its cells share the frozen blocks' features.

    The rates of a loss are those that its first padding finds.
    """
    missing = [
        recipe
        for recipe in recipes_of(family, padding)
        if not read(folder / name_of(recipe) / RESULT, recipe)
    ]
    if not missing:
        return
    prepared = finetune.prepare(
        missing[0], collection, lambda n: progress(f"{padding}: features", n)
    )
    for recipe in missing:
        rows = _searched(family, recipe, prepared, folder, progress)
        cell = out_of_fold.train(recipe, rows, prepared, family.masks, progress)
        files.write_checkpoint(folder / name_of(recipe) / RESULT, to_dict(cell))


def _search_file(folder: Path, loss: str) -> Path:
    return folder / "search" / f"{loss}.json"


def _searched(
    family: Family, recipe: Recipe, prepared: PreparedFolds, folder: Path, progress: Progress
) -> list[dict[str, float]]:
    """The rows of a loss's search, kept in a file of its own."""
    rows = _kept_search(family, folder, recipe.loss)
    if not rows:
        short = replace(recipe, epochs=family.search_epochs)
        rows = out_of_fold.search(short, prepared, family.rates[recipe.loss], progress)
        files.write_json(_search_file(folder, recipe.loss), rows)
    return rows


def _kept_search(family: Family, folder: Path, loss: str) -> list[dict[str, float]]:
    """The rows that were kept of a loss's search; none if it tried other rates."""
    path = _search_file(folder, loss)
    rows: list[dict[str, float]] = files.read_json(path, list) if path.exists() else []
    same = tuple(dict.fromkeys(row["lr"] for row in rows)) == tuple(family.rates[loss])
    return rows if same else []


def to_dict(cell: Cell) -> dict[str, Any]:
    """A cell as its file holds it: of its recipe what decides a transfer, as 'plan'."""
    found = {name: value for name, value in asdict(cell).items() if name != "recipe"}
    return {"plan": finetune.plan(cell.recipe)} | found


def read(path: Path, recipe: Recipe) -> Cell | None:
    """A kept result, if it is there and of the same recipe but for the rate that was found.

    Raises:
        CheckpointError: it is damaged.
    """
    if not path.exists():
        return None
    found = files.read_checkpoint(path)
    try:
        made = replace(recipe, **found.pop("plan"))
        same = replace(made, lr=recipe.lr) == recipe
        return Cell(recipe=made, **found) if same else None
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{files.shown(path)} is damaged ({brief(error)}); remove it to train anew"
        ) from error


def outcome(family: Family, cell: Cell, collection: objects.Collection) -> Outcome:
    """A cell's network, its figures out of fold, and the answers and scores they rest on."""
    labels = collection.labels()
    measured = measure_out_of_fold(cell.logits, labels, collection.folds())
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
        | {"training_command": family.command, "rates_of_folds": list(cell.rates)},
    )
    manifest = replace(manifest, ood=_unfamiliar(family, cell))
    scores = {f"mask {name}": v.numpy().astype("float32") for name, v in cell.scores.items()}
    ood = {"backgrounds": float(manifest.ood["auroc"])} if manifest.ood else {}
    return Outcome(manifest, model, measured, labels=labels, arrays=scores, ood=ood)


def by_kind(logits: Tensor, collection: objects.Collection) -> dict[str, float]:
    """Accuracy on the objects that are photos, and on those that are drawings."""
    right = (logits.argmax(1) == collection.labels()).double()
    kinds = [stamp.kind for stamp in collection.objects]
    return {
        f"accuracy_{kind}": float(right[torch.tensor([each == kind for each in kinds])].mean())
        for kind in sorted(set(kinds))
    }


def _unfamiliar(family: Family, cell: Cell) -> dict[str, Any]:
    """The threshold of the hint, and how well its score tells objects from bare backgrounds."""
    score = family.hints.get(cell.recipe.loss)
    if score is None:
        return {}
    known, outside = (unfamiliar.scores(score, z) for z in (cell.logits, cell.outside))
    return unfamiliar.entry(
        score,
        cell.logits,
        auroc=auroc(known, outside),
        outside=len(cell.outside),
        command=family.command,
    )


def record_search(family: Family, folder: Path, models_dir: Path) -> None:
    """search.json: every rate that was tried, and the one that the shipped network has."""
    searches = {loss: _kept_search(family, folder, loss) for loss in family.rates}
    found = {loss: rows for loss, rows in searches.items() if rows}
    write_search(
        family,
        models_dir,
        criterion="accuracy, then NLL, on the next fold of a network trained on the other three",
        tried=[{"loss": loss} | row for loss, rows in found.items() for row in rows],
        chosen={loss: out_of_fold.chosen(rows) for loss, rows in found.items()},
    )


def compare_variants(
    family: Family,
    collection: objects.Collection,
    folder: Path,
    progress: Progress = silent,
    *,
    finished: bool = False,
) -> list[dict[str, Any]]:
    """The family's ablations: the rows of variants.json, kept one by one.

    Rows of ablations that the family no longer declares are left out. With `finished` nothing is
    trained, and only what is kept is returned.
    """
    path = folder / VARIANTS
    before: list[dict[str, Any]] = files.read_json(path, list) if path.exists() else []
    wanted = [
        (name, replace(family.recipe, **changes))
        for name, each in family.ablations.items()
        for changes in each
    ]
    plans = [finetune.plan(recipe) for _, recipe in wanted]
    rows = [next((row for row in before if row.get("plan") == plan), None) for plan in plans]
    for i, (name, recipe) in enumerate(wanted):
        if rows[i] is None and not finished:
            figures = _variant(recipe, collection, progress)
            rows[i] = {"name": name, "plan": plans[i]} | figures
            files.write_json(path, [row for row in rows if row])
    found = [row | {"name": name} for row, (name, _) in zip(rows, wanted, strict=True) if row]
    if found != before:
        files.write_json(path, found)
    return found


def _variant(recipe: Recipe, collection: objects.Collection, progress: Progress) -> dict[str, Any]:
    prepared = finetune.prepare(recipe, collection, lambda n: progress("variants: features", n))
    logits = out_of_fold.out_of_fold(recipe, prepared, progress)
    return _figures(logits.softmax(1), collection)


def _figures(probs: Tensor, collection: objects.Collection) -> dict[str, Any]:
    labels = collection.labels()
    found = {name: metric(probs, labels) for name, metric in calibration.METRICS.items()}
    return found | by_kind(probs, collection)


def zero_shot(
    family: Family, collection: objects.Collection, folder: Path, progress: Progress
) -> dict[str, dict[str, Any]]:
    """What ImageNet's own probabilities, summed per class, get on the same test, by padding."""
    path = folder / REFERENCE
    if not path.exists():
        test, found = objects.fixed(collection).images, {}
        for padding in family.paddings:
            model = nets.Classifier(imagenet.load(padding), imagenet.MEAN, imagenet.STD)
            model.to(memory_format=torch.channels_last)
            logits = predict(model, test, progress=lambda n: progress("zero-shot", n))
            probs = imagenet.zero_shot(logits, collection.classes)
            found[padding] = _figures(probs, collection)
        files.write_json(path, found)
    kept: dict[str, dict[str, Any]] = files.read_json(path)
    return kept
