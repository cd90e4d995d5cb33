"""How the time of an attack grows with pictures, strengths, size and classes, for `bench`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from nls_core import attacks, nets


@dataclass(frozen=True)
class Case:
    """How much there is of each."""

    pictures: int = 1
    strengths: int = 1
    pixels: int = 28
    classes: int = 10

    def __str__(self) -> str:
        """Its numbers."""
        count = f"{self.pictures} x {self.strengths} at {self.pixels} px"
        return f"{count}, {self.classes} classes"


CASES = {
    "strengths": (Case(), Case(strengths=16)),
    "pictures": (Case(), Case(pictures=16)),
    "pixels": (Case(), Case(pixels=112)),
    "classes": (Case(), Case(classes=1000)),
}


def attack(case: Case, *, batched: bool = True) -> Callable[[], object]:
    """PGD with 10 steps on each picture at each strength, in one batch or one after the other."""
    torch.manual_seed(0)
    net = nets.build("smallresnet-16", case.classes, 1).eval().requires_grad_(False)
    x = torch.rand(case.pictures, 1, case.pixels, case.pixels).repeat(case.strengths, 1, 1, 1)
    y = torch.zeros(len(x), dtype=torch.long)
    epsilon = torch.linspace(1, 16, case.strengths).repeat_interleave(case.pictures) / 255
    pgd = attacks.ATTACKS["pgd-linf"]
    if batched:
        return lambda: pgd(net, x, y, epsilon=epsilon, steps=10)
    ones = [(x[i : i + 1], y[:1], epsilon[i]) for i in range(len(x))]
    return lambda: [pgd(net, one, label, epsilon=e, steps=10) for one, label, e in ones]
