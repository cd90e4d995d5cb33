"""Accuracy under attack on a fixed part of the test split: white-box, black-box and transfer.

White-box figures alone can show gradient masking instead of robustness (arXiv 2009.08233), so the
DLR loss (arXiv 2003.01690), Square without gradients (arXiv 1912.00049), transfer from other
models, and the worst case over all of them stand beside FGSM and PGD.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nls_core import datasets
from nls_core.attacks import ATTACKS

EPSILONS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
IMAGES = 500
BATCH = 250
CASES: dict[str, tuple[str, dict[str, Any]]] = {  # name -> attack and its options
    "fgsm": ("fgsm", {}),
    "pgd-20, 2 restarts": ("pgd-linf", {"steps": 20, "restarts": 2}),
    "pgd-20, dlr": ("pgd-linf", {"steps": 20, "loss": "dlr"}),
    "square, 500 queries": ("square", {"queries": 500}),
}
CRAFTED = "pgd-20, 2 restarts"  # what transfers
WORST = "worst of all"


@dataclass(frozen=True)
class Attacked:
    """What one model's images became, and which of them it still gets right.

    `right` maps a case to (E, N) bool over `EPSILONS` and images; `crafted` is (E, N, C, H, W).
    """

    right: Mapping[str, Tensor]
    crafted: Tensor


def subset(test: datasets.Data, count: int = IMAGES) -> tuple[Tensor, Tensor]:
    """The same images for every model: x (N, C, H, W) in [0, 1] and labels (N,)."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:count]
    return test.images[order].float() / 255, test.labels[order]


def attack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    report: Callable[[int], None] = lambda done: None,
) -> Attacked:
    """Run every case at every ε, from the true labels.

    Args:
        model: from x in [0, 1] to logits, in eval mode.
        x: (N, C, H, W); y: (N,) true labels.
        report: called with the number of images attacked.
    """
    right: dict[str, Tensor] = {}
    crafted: list[Tensor] = []
    for case, (name, options) in CASES.items():
        rows = []
        for epsilon in EPSILONS:
            parts = []
            for a, b in zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True):
                parts.append(ATTACKS[name](model, a, b, epsilon=epsilon, **options))
                report(len(a))
            moved = torch.cat(parts)
            rows.append(_right(model, moved, y))
            if case == CRAFTED:
                crafted.append(moved)
        right[case] = torch.stack(rows)
    return Attacked(right, torch.stack(crafted))


@torch.no_grad()
def _right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([model(part).argmax(1) for part in torch.split(x, BATCH)]) == y


def table(
    models: Mapping[str, nn.Module], attacked: Mapping[str, Attacked], y: Tensor
) -> dict[str, dict[str, list[float]]]:
    """Accuracy of each model over `EPSILONS`: each case, transfer from each other model, worst.

    Returns:
        Model id -> case -> accuracies, in the order of `EPSILONS`.
    """
    rows: dict[str, dict[str, list[float]]] = {}
    for target, model in models.items():
        right = dict(attacked[target].right)
        for source, made in attacked.items():
            if source != target:
                moved = [_right(model, images, y) for images in made.crafted]
                right[f"transfer from {source}"] = torch.stack(moved)
        right[WORST] = torch.stack(list(right.values())).all(0)
        rows[target] = {case: part.double().mean(1).tolist() for case, part in right.items()}
    return rows
