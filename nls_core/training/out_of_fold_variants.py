"""A family's ablations out of fold: how much of the network is trained, and how."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from nls_core import files
from nls_core.data import objects
from nls_core.families import Family
from nls_core.families.recipe import Recipe
from nls_core.training import finetune, out_of_fold_search
from nls_core.training.out_of_fold import Progress, silent

VARIANTS = "variants.json"  # in the folder of the runs


def _variants(family: Family) -> list[tuple[str, Recipe]]:
    return [
        (name, replace(family.recipe, **changes))
        for name, each in family.ablations.items()
        for changes in each
    ]


def kept(family: Family, folder: Path) -> list[dict[str, Any]]:
    """The rows of variants.json that the family still declares, in its order."""
    path = folder / VARIANTS
    before: list[dict[str, Any]] = files.read_json(path, list) if path.exists() else []
    found = []
    for name, recipe in _variants(family):
        plan = finetune.plan(recipe)
        found += [row | {"name": name} for row in before if row.get("plan") == plan]
    return found


def train(
    family: Family, collection: objects.Collection, folder: Path, progress: Progress = silent
) -> None:
    """Try the family's ablations on the held-out part of the search, and keep them one by one."""
    prepared: finetune.PreparedFolds | None = None
    for name, recipe in _variants(family):
        rows = kept(family, folder)
        if any(row["plan"] == finetune.plan(recipe) for row in rows):
            continue
        if prepared is None or prepared.frozen != recipe.frozen:
            prepared = finetune.prepare(
                recipe, collection, lambda n: progress("variants: features", n)
            )
        tries = [
            out_of_fold_search.validated(recipe, prepared, fold, progress)
            for fold in out_of_fold_search.ROTATIONS
        ]
        keys = ("val_accuracy", "val_ece", "val_nll")
        row: dict[str, Any] = {"name": name, "plan": finetune.plan(recipe), "tries": tries}
        row |= {key: fmean(each[key] for each in tries) for key in keys}
        files.write_json(folder / VARIANTS, [*rows, row])
