"""An aberrations.json of networks that never were: random logits that lean towards the labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nls_core.evidence import aberrations
from nls_core.evidence.aberrations import Answers

CONDITIONS: dict[str, dict[str, Any]] = {
    "clean": {},
    "symmetric 20 %": {"label_noise": 0.2},
    "symmetric 40 %": {"label_noise": 0.4},
    "long tail 10": {"imbalance": 10.0},
}
GROUPS = {
    "symmetric noise": ["clean", "symmetric 20 %", "symmetric 40 %"],
    "long tails": ["clean", "long tail 10"],
}
LEAN = {"ce-zero": 1.0, "nls-zero": 4.0}  # how far the labels' logits stand out


def labels() -> Tensor:
    return torch.arange(400) % 10


def logits(lean: float, seed: int) -> Tensor:
    z = torch.randn(400, 10, generator=torch.Generator().manual_seed(seed))
    return z + lean * torch.nn.functional.one_hot(labels(), 10)


def record(measured: tuple[str, ...] = tuple(CONDITIONS)) -> dict[str, Any]:
    """The record of three seeds of `LEAN`; conditions that are not `measured` have no cells."""
    conditions = {}
    for place, (name, changes) in enumerate(CONDITIONS.items()):
        runs = {
            cell: {seed: Answers.of(logits(lean, 10 * place + seed), labels()) for seed in range(3)}
            for cell, lean in LEAN.items()
        }
        cells = aberrations.cells(runs if name in measured else {}, resamples=50)
        conditions[name] = changes | {"cells": cells}
    return {
        "schema": 1,
        "command": "nls train --grid tiny --aberrations",
        "data": {"test_images": 400, "epochs": 3, "subset": 0.25, "bins": 15, "resamples": 50},
        "groups": GROUPS,
        "rates": {"ce": 0.1, "nls": 1.0},
        "conditions": conditions,
        "diverged": [],
    }
