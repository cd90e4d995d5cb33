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
    arch: str = "smallresnet-16"
    steps: int = 10

    def __str__(self) -> str:
        """Its numbers."""
        count = f"{self.pictures} x {self.strengths} at {self.pixels} px"
        return f"{count}, {self.classes} classes"


PHOTO = Case(strengths=16, pixels=224, arch=nets.LITE0, steps=1)
CASES = {
    "strengths": (Case(), Case(strengths=16)),
    "pictures": (Case(), Case(pictures=16)),
    "pixels": (Case(), Case(pixels=112)),
    "classes": (Case(), Case(classes=1000)),
}


def attack(case: Case, *, at_once: int | None = None) -> Callable[[], object]:
    """PGD on each picture at each strength, in one batch or some `at_once`."""
    torch.manual_seed(0)
    channels = 3 if case.arch == nets.LITE0 else 1
    net = nets.build(case.arch, case.classes, channels).eval().requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    x = torch.rand(case.pictures, channels, case.pixels, case.pixels)
    x = x.repeat(case.strengths, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    y = torch.zeros(len(x), dtype=torch.long)
    epsilon = torch.linspace(1, 16, case.strengths).repeat_interleave(case.pictures) / 255
    pgd = attacks.ATTACKS["pgd-linf"]
    size = at_once or len(x)
    parts = list(zip(*(torch.split(each, size) for each in (x, y, epsilon)), strict=True))
    return lambda: [pgd(net, one, label, epsilon=e, steps=case.steps) for one, label, e in parts]
