"""What is measured of the network of a fold, on objects that it never saw: maps, and attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nls_core import cams, nets
from nls_core.attacks import ATTACKS
from nls_core.attacks.auto_pgd import apgd
from nls_core.data import objects
from nls_core.families import Attacked, Masks
from nls_core.metrics import mask_scores
from nls_core.training import finetune

BATCH = 6  # pictures of 224 pixels at once: 1.4 times as fast as 25, of which caches hold less
LATE = 7  # maps read the last convolution: the blocks before it are computed once


@dataclass(frozen=True)
class UnderAttack:
    """Right answers under attack: attack -> (E, R) bool; and logits (E, R, K) under the first."""

    right: Mapping[str, Tensor]
    logits: Tensor


def one_in(index: Tensor, every: int) -> Tensor:
    """(n,) bool: of a fold's n objects one in `every`; in the order of names, so of each class."""
    return torch.arange(len(index)) % every == 0


def map_scores(model: nets.Classifier, test: objects.Renderings, masks: Masks) -> dict[str, Tensor]:
    """Mask scores of every method's maps on some test renderings, one for each object.

    Maps explain the class that the model names. Under attack (PGD) they are those of the attacked
    picture, for the class named there.

    Returns:
        '<state> <method> <score>' and '<state> control <score>' -> (n,) float64.
    """
    front, back = finetune.halves(model, LATE)
    some = one_in(test.objects, masks.every)
    clean = finetune.features(front, test.images).float()
    named = finetune.answer(back, clean[some]).argmax(1)
    moved = _by_parts(
        model,
        (test.images[some].float() / 255, named),
        lambda x, y: ATTACKS["pgd-linf"](model, x, y, epsilon=masks.epsilon, steps=masks.steps),
    )
    with torch.no_grad():
        adversarial = torch.cat([front(part) for part in torch.split(moved, BATCH)])
    inputs = {"clean": (clean, test.masks), "attacked": (adversarial, test.masks[some])}
    found = {}
    for state, (features, shown) in inputs.items():
        maps = {method: _maps(back, features, method) for method in masks.methods}
        for method, each in maps.items():
            for score, values in mask_scores.measure(each, shown).items():
                found[f"{state} {method} {score}"] = values
        # all methods read one layer, so their maps have one size
        _, height, width = maps[masks.methods[0]].shape
        for score, values in mask_scores.controls(shown, height, width).items():
            found[f"{state} control {score}"] = values
    return found


def _by_parts(
    model: nn.Module, data: tuple[Tensor, Tensor], attack: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    x, y = data
    x = x.contiguous(memory_format=torch.channels_last)
    parts = zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True)
    return torch.cat([attack(a, b) for a, b in parts])


def _maps(back: nn.Module, features: Tensor, method: str) -> Tensor:
    """(n, h, w) maps of the classes that a network names, made by its end alone."""
    classes = finetune.answer(back, features).argmax(1)
    return torch.cat(
        [
            torch.from_numpy(np.asarray(cams.activation_maps(back, part, label, method=method)))
            for part, label in zip(torch.split(features, 64), torch.split(classes, 64), strict=True)
        ]
    )


# attack -> (model, x, y, ε, steps) -> attacked x; the figures of the first are given in full
CASES: dict[str, Callable[[nn.Module, Tensor, Tensor, float, int], Tensor]] = {
    "pgd": lambda model, x, y, epsilon, steps: ATTACKS["pgd-linf"](
        model, x, y, epsilon=epsilon, steps=steps, random_start=True
    ),
    "apgd-ce": lambda model, x, y, epsilon, steps: apgd(
        model, x, y, epsilon=epsilon, steps=steps, loss="ce", early_stop=True
    ),
}


def under_attack(model: nn.Module, test: objects.Renderings, how: Attacked) -> UnderAttack:
    """Attack some test renderings from their true labels, ε by ε from the smallest.

    A picture that a smaller ε has changed lies in the larger ball too: it is kept as it is.

    Returns:
        Of every key of `CASES` and of 'worst', which of the pictures are still right.
    """
    x, y = test.images.float() / 255, test.labels
    model = nets.folded(model, x[:2])  # as served: gradients take four fifths of the time
    clean = _logits(model, x).argmax(1) == y
    found: dict[str, Tensor] = {}
    first: list[Tensor] = []
    for case, attack in CASES.items():
        moved, rows = x.clone(), []
        left = clean
        for epsilon in how.epsilons:
            if bool(left.any()):
                moved[left] = _by_parts(
                    model,
                    (x[left], y[left]),
                    lambda a, b, e=epsilon, run=attack: run(model, a, b, e, how.steps),  # type: ignore[misc]
                )
            logits = _logits(model, moved)
            left = left & (logits.argmax(1) == y)
            rows.append(left)
            if not found:
                first.append(logits)
        found[case] = torch.stack(rows)
    found["worst"] = torch.stack(list(found.values())).all(0)
    return UnderAttack(found, torch.stack(first))


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([model(part) for part in torch.split(x, BATCH)])
