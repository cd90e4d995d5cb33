"""What the tests of attacks share: names by kind, tiny models, images and measures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from nls_core.attacks import ATTACKS
from tests.conftest import make_model

EVERY = tuple(ATTACKS)
NORMS = {name: attack.norm for name, attack in ATTACKS.items()}
PGD = ("pgd-linf", "pgd-l2")
GRADIENT = ("fgsm", *PGD)
AIMED = ("apgd-t", "fab-t")  # at one class after the other
DONE = ("apgd-ce", *AIMED, "autoattack")  # with a sample at its first success
SEARCHING = (*GRADIENT, *DONE, "apgd-dlr", "square")  # those that run the model
NEAREST = ("fab-t", "autoattack")  # which look for a small change
NOISE = ("gaussian", "salt-pepper")
SHARED: dict[str, Any] = {
    "targeted": False,
    "seed": 1,
    "steps": 2,
    "restarts": 2,
    "random_start": True,
    "progress": lambda done: None,
}
MODEL = make_model()
MODEL3 = make_model(channels=3)
small = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def options(name: str, **more: Any) -> dict[str, Any]:
    """Few steps, targets and queries."""
    fewer = {key: {"targets": 2} for key in AIMED} | {"square": {"queries": 8}}
    known: dict[str, Any] = fewer.get(name, {"steps": 1} if name == "autoattack" else {})
    return {"steps": 3} | known | more


def images(count: int = 3, channels: int = 1, size: int = 28, seed: int = 7) -> Tensor:
    """Seeded images with pixels at both ends of the range."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, channels, size, size, generator=generator) * 1.4 - 0.2).clamp(0, 1)


def predictions(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


def mean_loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(model(x), y))


def norms(x: Tensor, adversarial: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """L∞ and L2 in float64, apart from the code under test."""
    delta = (adversarial.double() - x.double()).flatten(1).numpy()
    return np.abs(delta).max(1), np.sqrt((delta**2).sum(1))


class Counting(nn.Module):
    """Counts forwards and the images in them; raises from the n-th forward on."""

    def __init__(self, model: nn.Module, allowed: float = math.inf) -> None:
        super().__init__()
        self.model, self.allowed = model, allowed
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if len(self.batches) >= self.allowed:
            raise ArithmeticError("broken on purpose")
        self.batches.append(len(x))
        return self.model(x)


class Linear(nn.Module):
    """Logits that are a seeded linear function of the pixels: gradients in closed form."""

    def __init__(self, classes: int = 4, pixels: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, pixels, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.to(x.dtype).T


class NaNGradient(nn.Module):
    """Adds 0·sqrt(0) to chosen pixels: the logits stay, their gradient there becomes NaN."""

    def __init__(self, model: nn.Module, mask: Tensor) -> None:
        super().__init__()
        self.model, self.mask = model, mask

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + torch.where(self.mask, x - x.detach(), 1.0).sqrt() * 0)


GOOD_X, GOOD_Y = images(2), torch.tensor([0, 1])
