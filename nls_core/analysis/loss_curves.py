"""What the losses do as functions: values and gradients over p_y, and the identity of `nls`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nls_core.losses import LOSSES, accepts, soft_labels

# they normalize the logits, so p_y says nothing of their value
NOT_SHOWN = ("cosine", "logitnorm")
DRAWS = 1000  # random logits of the check
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """K classes, smoothing s, focal exponent γ, and the weight λ of losses that have one."""

    classes: int = 10
    smoothing: float = 0.1
    gamma: float = 0.0
    weight: float = 0.006


@dataclass(frozen=True)
class Curves:
    """Per loss the value and its derivative by z_y, both (N,), at p_y = `p` (N,)."""

    p: Curve
    values: dict[str, Curve]
    slopes: dict[str, Curve]


def evaluate(name: str, logits: Tensor, target: Tensor, choice: Choice) -> tuple[Tensor, Tensor]:
    """A loss and its gradient by autograd.

    Args:
        name: a key of `losses.LOSSES`.
        logits: (B, K).
        target: (B,) labels.
        choice: the loss's parameters; with γ = 0 each loss takes its own γ, 3 for 'focal'.

    Returns:
        The loss (B,) of each row, and its gradient (B, K) by that row's logits.
    """
    options: dict[str, float] = {"smoothing": choice.smoothing}
    if choice.gamma > 0:
        options["gamma"] = choice.gamma
    if accepts(name, "weight"):
        options["weight"] = choice.weight
    with torch.inference_mode(False), torch.enable_grad():
        z = logits.detach().clone().requires_grad_()
        loss = LOSSES[name](z, target, reduction="none", **options)
        (gradient,) = torch.autograd.grad(loss.sum(), z)
    return loss.detach(), gradient


def shown() -> list[str]:
    """The losses that are drawn: all but `NOT_SHOWN`."""
    return [name for name in LOSSES if name not in NOT_SHOWN]


def targets(choice: Choice) -> Curve:
    """(K,) the soft label of class 0: s/K, plus 1-s at 0."""
    row = soft_labels(torch.tensor([0]), choice.classes, choice.smoothing, torch.float64)[0]
    return row.numpy()


def logits_at(p: Tensor, classes: int) -> Tensor:
    """(N, K) logits whose softmax gives class 0 the probability p (N,), the others equal shares."""
    z = torch.zeros(len(p), classes, dtype=torch.float64)
    z[:, 0] = p.log() - ((1 - p) / (classes - 1)).log()
    return z


def curves(choice: Choice, points: int = 199) -> Curves:
    """Loss and slope over p_y in (0, 1), the other classes sharing 1 - p_y equally."""
    p = torch.linspace(0, 1, points + 2, dtype=torch.float64)[1:-1]
    z, target = logits_at(p, choice.classes), torch.zeros(points, dtype=torch.long)
    values, slopes = {}, {}
    for name in shown():
        loss, gradient = evaluate(name, z, target, choice)
        values[name], slopes[name] = loss.numpy(), gradient[:, 0].numpy()
    return Curves(p.numpy(), values, slopes)


def alike(curves: Curves) -> Curves:
    """The same curves, each loss divided by its own steepest slope.

    That is what a learning rate tuned to the loss does: the shapes become comparable.
    """
    steepest = {name: float(np.abs(slope).max()) or 1.0 for name, slope in curves.slopes.items()}
    return Curves(
        curves.p,
        {name: value / steepest[name] for name, value in curves.values.items()},
        {name: slope / steepest[name] for name, slope in curves.slopes.items()},
    )


def identity_gap(choice: Choice, seed: int = 0) -> tuple[float, float]:
    """How far `nls` is from (1-s)·NCE + s/K: the largest absolute difference of loss and gradient.

    On `DRAWS` seeded rows of logits, normal with deviation 3, in float64. NCE = -lp_y / Σ_k(-lp_k)
    (Ma et al. 2020, arXiv 2006.13554); with γ = 0 both differences are rounding errors.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (DRAWS, choice.classes)
    z = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, choice.classes, (DRAWS,), generator=generator)
    ours, gradient = evaluate("nls", z, target, choice)
    with torch.inference_mode(False), torch.enable_grad():
        z.requires_grad_()
        lp = z.log_softmax(1)
        nce = lp.gather(1, target[:, None])[:, 0] / lp.sum(1)
        other = (1 - choice.smoothing) * nce + choice.smoothing / choice.classes
        (wanted,) = torch.autograd.grad(other.sum(), z)
    gaps = (ours - other.detach()).abs().max(), (gradient - wanted).abs().max()
    return float(gaps[0]), float(gaps[1])
