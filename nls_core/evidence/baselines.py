"""Baselines tuned as fairly as the family's own cells: `baselines.json` of a family.

Its cells are like those of a report, with the family's own `ce-zero` and `nls-zero` of the same
seeds beside them. The raw results that it is made of lie in `models/<family>/baselines/`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from nls_core import files
from nls_core.errors import CheckpointError
from nls_core.evidence import attack_figures, commands, report, stored_runs
from nls_core.evidence.cells import BASE
from nls_core.evidence.robustness import WORST, epsilon_keys
from nls_core.evidence.stored_runs import Runs
from nls_core.metrics import calibration

FILE = "baselines.json"  # in the folder of a family
FOLDER = "baselines"  # the raw results, beside it
RIVAL = "nls-zero"  # which the baselines are held against
VS_RIVAL = "vs_nls_zero"
# what is compared under attack, at equal products of learning rate and weight decay: name -> cells
PRODUCTS: dict[str, tuple[str, str]] = {
    "nls - ce, product of ce": ("nls_matched-zero", BASE),
    "nls - ce, product of nls": (RIVAL, "ce_matched-zero"),
    "ce, product of nls - of ce": ("ce_matched-zero", BASE),
}


def compared(cell: str) -> dict[str, str]:
    """What a cell's metrics are compared with."""
    others = {"vs_ce_zero": BASE, VS_RIVAL: RIVAL}
    return {key: other for key, other in others.items() if other != cell}


def record(
    family: str,
    models_dir: Path,
    about: Mapping[str, Any],
    counted: Collection[tuple[str, int]],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """The figures of measured baselines, beside those of the family's own cells on their seeds.

    Args:
        family: its name.
        models_dir: holds its raw results, and those of its baselines.
        about: what the record says beside figures.
        counted: cell and seed of the baselines' runs that it is of; raw results of others may lie
            there, from other settings.
        progress: called with 1 after each run.

    Raises:
        CheckpointError: raw results are missing or damaged, or of other images.
    """
    found, labels = stored_runs.read(models_dir / family / FOLDER)
    runs = {
        cell: {seed: run for seed, run in seeds.items() if (cell, seed) in counted}
        for cell, seeds in found.items()
    }
    own, of_own = stored_runs.read(models_dir / family / stored_runs.FOLDER)
    if not torch.equal(labels, of_own):
        raise CheckpointError(
            f"the raw results of {family} and its baselines are of different test images; "
            f"`{commands.baselines(family)}` measures these anew"
        )
    kept = {seed for each in runs.values() for seed in each}
    beside: Runs = {
        cell: {seed: run for seed, run in own.get(cell, {}).items() if seed in kept}
        for cell in (BASE, RIVAL)
    }
    together = {cell: each for cell, each in (beside | runs).items() if each}
    return {
        "schema": 1,
        "command": commands.baselines(family),
        "data": {
            "test_images": len(labels),
            "bins": calibration.BINS,
            "resamples": report.RESAMPLES,
        },
        **about,
        "created_with": stored_runs.created_with(),
        "cells": report.aggregate(
            together,
            labels,
            resamples=report.RESAMPLES,
            compared=compared,
            progress=progress,
        ),
        "under_attack": _under_attack(together),
    }


def _under_attack(runs: Runs) -> dict[str, dict[str, Any]]:
    """Name of `PRODUCTS` -> ε in 1/255 -> the difference in accuracy under the worst attack."""
    of_all = attack_figures.comparable(runs)
    right = {
        cell: {seed: run.right[WORST] for seed, run in each.items() if WORST in run.right}
        for cell, each in of_all.items()
    }
    found: dict[str, dict[str, Any]] = {}
    for name, pair in PRODUCTS.items():
        mine, base = (right.get(cell, {}) for cell in pair)
        found[name] = {
            key: attack_figures.difference(
                {seed: each[place] for seed, each in mine.items()},
                {seed: each[place] for seed, each in base.items()},
                report.RESAMPLES,
            )
            for place, key in enumerate(epsilon_keys())
            if mine and base
        }
    return found


def read(family: str, models_dir: Path) -> dict[str, Any]:
    """A family's baselines.json; empty where none was measured.

    Raises:
        CheckpointError: it is damaged.
    """
    path = models_dir / family / FILE
    if not path.exists():
        return {}
    found: dict[str, Any] = files.read_json(path)
    cells, gaps, settings = (found.get(key) for key in ("cells", "under_attack", "settings"))
    whole = isinstance(cells, dict) and all(
        isinstance(each, dict) and isinstance(each.get("metrics"), dict) for each in cells.values()
    )
    if not whole or not isinstance(gaps, dict) or not isinstance(settings, dict):
        raise CheckpointError(
            f"{files.shown(path)} is damaged: expected 'cells' with metrics, 'under_attack' and "
            "'settings'"
        )
    return found
