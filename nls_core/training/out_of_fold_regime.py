"""Long training with little augmentation, out of fold: where cross-entropy becomes overconfident.

The recipes that ship stop early, on many renderings; the paper trains for many epochs on the same
pictures. This trains the family's `regime_rates` so, and keeps the figures after each epoch, in
`REGIME` of the runs and, with the command, of the folder of the family.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nls_core import files
from nls_core.data import objects
from nls_core.data.folds import FOLDS
from nls_core.evidence.over_epochs import REGIME
from nls_core.families import Family
from nls_core.families.recipe import Recipe
from nls_core.training import finetune, out_of_fold
from nls_core.training.out_of_fold import Progress, silent


def recipes_of(family: Family) -> dict[str, Recipe]:
    """Loss -> recipe."""
    return {
        loss: replace(family.recipe, loss=loss, lr=lr, **family.regime)
        for loss, lr in family.regime_rates.items()
    }


def train(
    family: Family, collection: objects.Collection, folder: Path, progress: Progress = silent
) -> None:
    """Train what is missing, and keep the rows of each loss."""
    kept = _kept(family, folder)
    missing = {loss: r for loss, r in recipes_of(family).items() if loss not in kept}
    if not missing:
        return
    first = next(iter(missing.values()))
    prepared = finetune.prepare(first, collection, lambda n: progress("regime: features", n))
    labels = collection.labels()
    for loss, recipe in missing.items():
        passes: list[Tensor] = []
        losses: list[tuple[float, ...]] = []
        for fold in range(FOLDS):
            made = out_of_fold.train_fold(
                recipe, prepared, fold, lambda _, n: progress("regime", n)
            )
            passes.append(made.passes)
            losses.append(made.losses)
        index = [torch.nonzero(collection.folds() == fold).flatten() for fold in range(FOLDS)]
        every = out_of_fold.in_order(passes, index, 1)  # (epochs, N, K)
        rows = [
            {"epoch": epoch, "train_loss": sum(each[epoch - 1] for each in losses) / FOLDS}
            | out_of_fold.validation(logits.softmax(1), labels)
            for epoch, logits in enumerate(every, 1)
        ]
        kept[loss] = {"plan": finetune.plan(recipe), "curve": rows}
        files.write_json(folder / REGIME, kept)


def _kept(family: Family, folder: Path) -> dict[str, Any]:
    path = folder / REGIME
    found: dict[str, Any] = files.read_json(path) if path.exists() else {}
    return {
        loss: found[loss]
        for loss, recipe in recipes_of(family).items()
        if found.get(loss, {}).get("plan") == finetune.plan(recipe)
    }


def record(family: Family, folder: Path, models_dir: Path) -> None:
    """regime.json of the family, if anything of it is finished."""
    kept = _kept(family, folder)
    if kept:
        found = {"schema": 1, "command": family.command, "data": "out of fold", "losses": kept}
        files.write_json(models_dir / family.name / REGIME, found)
