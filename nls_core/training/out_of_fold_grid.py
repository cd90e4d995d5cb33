"""The protocol `out_of_fold`: every cell trained, fold by fold and resumable, then measured."""

from __future__ import annotations

import copy
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from nls_core import files, nets
from nls_core.data import objects
from nls_core.data.folds import FOLDS
from nls_core.errors import Collapsed
from nls_core.families import Family
from nls_core.families.recipe import Recipe, with_overrides
from nls_core.training import finetune, out_of_fold, out_of_fold_measure
from nls_core.training.finetune import PreparedFolds
from nls_core.training.out_of_fold import Cell, Progress, Trained, name_of, silent
from nls_core.training.out_of_fold_files import (
    RESULT,
    ZERO_SHOT,
    asked_of,
    folder_of,
    kept_search,
    read,
    search_file,
    to_dict,
)
from nls_core.training.out_of_fold_search import Row, chosen, search


def recipes_of(family: Family, padding: str | None = None, seeds: int = 1) -> list[Recipe]:
    """The recipe of every cell and seed, or of those with one padding; the rate is to be found."""
    return [
        with_overrides(
            family.recipe, loss=loss, padding=each, seed=seed, **family.fixed.get(loss, {})
        )
        for seed in range(max(family.seeds(cell, seeds) for cell in family.cells()))
        for each in family.paddings
        for loss, its in family.pairs()
        if its == each and padding in (None, each) and seed < family.seeds(f"{loss}-{each}", seeds)
    ]


def train_parts(
    family: Family,
    collection: objects.Collection,
    folder: Path,
    progress: Progress,
    *,
    jobs: int = 1,
    seeds: int = 1,
) -> None:
    """Train what is missing; cells of one padding and seed share the frozen blocks' features.

    With `jobs` above 1, paddings are trained side by side, in processes of one thread each.
    """
    for seed in range(max(family.seeds(cell, seeds) for cell in family.cells())):
        parts = [
            [r for r in recipes_of(family, padding, seeds) if r.seed == seed]
            for padding in family.paddings
        ]
        if jobs == 1:
            for each in parts:
                train_cells(family, each, collection, folder, progress)
            continue
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            waiting = [
                pool.submit(_train_alone, family, each, collection, folder) for each in parts
            ]
            for done in waiting:
                done.result()


def _train_alone(
    family: Family, recipes: list[Recipe], collection: objects.Collection, folder: Path
) -> None:
    torch.set_num_threads(1)
    train_cells(family, recipes, collection, folder)


def train_cells(
    family: Family,
    recipes: list[Recipe],
    collection: objects.Collection,
    folder: Path,
    progress: Progress = silent,
) -> None:
    """Train and measure what is missing of some cells of one padding and seed.

    Raises:
        Collapsed: the network of a fold collapsed; the other cells are trained before.
    """
    missing = [r for r in recipes if not read(folder_of(folder, r) / RESULT, r, family.attacked)]
    if not missing:
        return
    padding = missing[0].padding
    prepared = finetune.prepare(
        missing[0], collection, lambda n: progress(f"{padding}: features", n)
    )
    files.write_checkpoint(folder / padding / ZERO_SHOT, {"logits": prepared.zero_shot})
    failed = []
    for recipe in missing:
        try:
            rows = _searched(family, recipe, prepared, folder, progress)
            cell = train_cell(family, recipe, rows, prepared, folder, progress=progress)
        except Collapsed as error:
            failed.append(str(error))
            continue
        files.write_checkpoint(folder_of(folder, recipe) / RESULT, to_dict(cell))
    if failed:
        raise Collapsed("; ".join(failed))


def _searched(
    family: Family, recipe: Recipe, prepared: PreparedFolds, folder: Path, progress: Progress
) -> list[Row]:
    """The tries of a cell, kept one by one; further seeds take those of the first."""
    path = search_file(folder, name_of(recipe))
    short = replace(recipe, epochs=family.search_epochs, seed=0)
    plan = {k: v for k, v in finetune.plan(short).items() if k != "lr"}
    rows = kept_search(folder, name_of(recipe), plan)
    return search(
        short,
        prepared,
        family.rates[recipe.loss],
        family.tuned.get(recipe.loss, ()),
        rows=rows,
        keep=lambda found: files.write_json(path, {"plan": plan, "rows": found}),
        progress=progress,
    )


def train_cell(
    family: Family,
    recipe: Recipe,
    rows: list[Row],
    prepared: PreparedFolds,
    folder: Path,
    *,
    progress: Progress = silent,
) -> Cell:
    """Train a cell, fold by fold and whole, and measure it; `rows` are those of the search.

    Raises:
        Collapsed: the network of a fold collapsed.
    """
    settings = tuple(chosen(rows, fold) for fold in range(FOLDS))
    home = folder_of(folder, recipe)
    networks, parts = [], []
    for fold in range(FOLDS):
        mine = replace(recipe, **settings[fold])  # type: ignore[arg-type]
        network = _kept(home / f"fold{fold}.pt", mine, prepared, fold, progress)
        networks.append(network)
        parts.append(_measured(home / f"fold{fold}-measured.pt", family, network, prepared, fold))
        progress(f"{name_of(recipe)}: measured", len(network.passes[-1]))
    recipe = replace(recipe, **chosen(rows))  # type: ignore[arg-type]
    whole = _kept(home / "all.pt", recipe, prepared, None, progress)
    return Cell(recipe=recipe, settings=settings, state=whole.state, **_together(networks, parts))


def _kept(
    path: Path, recipe: Recipe, prepared: PreparedFolds, fold: int | None, progress: Progress
) -> Trained:
    """A trained network, from its file or into it."""
    plan = finetune.plan(recipe)
    if path.exists():
        found = files.read_checkpoint(path)
        if found.pop("plan", None) == plan:
            return Trained(**found)
    made = out_of_fold.train_fold(recipe, prepared, fold, progress)
    files.write_checkpoint(
        path, {"plan": plan} | {f.name: getattr(made, f.name) for f in fields(made)}
    )
    path.with_name(f"{path.stem}-measured.pt").unlink(missing_ok=True)
    return made


def _measured(
    path: Path, family: Family, network: Trained, prepared: PreparedFolds, fold: int
) -> dict[str, Any]:
    """What is measured of a fold's network, from its file or into it.

    Raises:
        Collapsed: it names one class, or less right than ImageNet alone.
    """
    asked = asked_of(family.attacked)
    found: dict[str, Any] = files.read_checkpoint(path) if path.exists() else {}
    if found and found.get("asked", {}) == asked:
        return found
    net = copy.deepcopy(prepared.model)
    net.net.load_state_dict(dict(network.state))
    first = prepared.test.take((prepared.test.folds == fold) & prepared.firsts)
    found = found or _clean(path, family, net, prepared, fold) | _maps(family, net, first)
    found["asked"] = asked
    if family.attacked is not None:
        under = out_of_fold_measure.under_attack(net, first, family.attacked)
        found |= {"right": dict(under.right), "attacked": under.logits}
    files.write_checkpoint(path, found)
    return found


def _clean(
    path: Path, family: Family, net: nets.Classifier, prepared: PreparedFolds, fold: int
) -> dict[str, Any]:
    held = prepared.test.folds == fold
    logits, labels = out_of_fold.answers(net, prepared, held)
    reason = out_of_fold.collapsed(logits, labels, prepared.zero_shot[held])
    if reason:
        cell = path.parent.parent.name
        raise Collapsed(
            f"the network of {family.name}/{cell}, fold {fold}, collapsed: {reason}; its rate is "
            f"too high for it, see {family.name}/search in the folder of the runs"
        )
    _, back = finetune.halves(net, prepared.frozen)
    return {
        "index": torch.nonzero(held).flatten(),
        "objects": prepared.test.objects[held & prepared.firsts],
        "logits": logits,
        "outside": finetune.answer(back, prepared.outside_features),
    }


def _maps(family: Family, net: nets.Classifier, first: objects.Renderings) -> dict[str, Any]:
    if family.masks is None:
        return {}
    return {
        "scores": out_of_fold_measure.map_scores(net, first, family.masks),
        "scored": out_of_fold_measure.one_in(first.objects, family.masks.every),
    }


def _together(networks: list[Trained], parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The folds' results as those of all objects, by the names of `Cell`."""
    order = out_of_fold.in_order
    by_object = [part["objects"] for part in parts]
    found: dict[str, Any] = {
        "logits": order([part["logits"] for part in parts], [part["index"] for part in parts]),
        "outside": torch.stack([part["outside"] for part in parts]),
        "passes": order([each.passes for each in networks], by_object, 1),
        "losses": tuple(
            sum(losses) / FOLDS for losses in zip(*(n.losses for n in networks), strict=True)
        ),
        "scores": {},
        "asked": parts[0].get("asked", {}),
        "right": {},
        "attacked": torch.zeros(0),
    }
    if "scores" in parts[0]:
        some = [part["objects"][part["scored"]] for part in parts]
        found["scores"] = {
            name: order(
                [part["scores"][name] for part in parts],
                some if name.startswith("attacked") else by_object,
            )
            for name in parts[0]["scores"]
        }
    if found["asked"]:
        found["right"] = {
            case: order([part["right"][case] for part in parts], by_object, 1)
            for case in parts[0]["right"]
        }
        found["attacked"] = order([part["attacked"] for part in parts], by_object, 1)
    return found
