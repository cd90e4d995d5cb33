"""What all losses share: their arguments checked, soft labels, focal weights, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nls_core.errors import InvalidInput, choose

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "none": lambda loss: loss,
}


def soft_labels(
    target: Tensor, classes: int, smoothing: float, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Turn labels into smoothed distributions.

    Args:
        target: (B,) integer labels in [0, classes), or a (B, classes) matrix of distributions.
        classes: K, at least 2.
        smoothing: s in [0, 1]; the result is (1-s)·target + s/K.
        dtype: of the result.

    Returns:
        (B, K), each row summing to 1 where the target's row does.

    Raises:
        InvalidInput: smoothing, shape, dtype or label range is not as above.
    """
    if not 0.0 <= smoothing <= 1.0:
        raise InvalidInput(f"smoothing must lie in [0, 1]; got {smoothing!r}")
    read = _check_distribution if target.ndim == 2 else _one_hot
    return read(target, classes).to(dtype) * (1.0 - smoothing) + smoothing / classes


def _check_distribution(target: Tensor, classes: int) -> Tensor:
    if not target.is_floating_point():
        raise InvalidInput(f"a soft label matrix must be of a float dtype; got {target.dtype}")
    if target.shape[1] != classes:
        raise InvalidInput(f"soft labels must have {classes} columns; got {target.shape[1]}")
    if target.numel() and not bool((target >= 0).all() and torch.isfinite(target).all()):
        raise InvalidInput("soft labels must be finite and at least 0; got other values")
    return target


def _one_hot(target: Tensor, classes: int) -> Tensor:
    if target.ndim != 1:
        raise InvalidInput(
            f"target must be (B,) labels or a (B, {classes}) matrix; "
            f"got shape {tuple(target.shape)}"
        )
    if target.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8):
        raise InvalidInput(f"labels must be of an integer dtype; got {target.dtype}")
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise InvalidInput(
            f"labels must lie in [0, {classes}); got values from "
            f"{int(target.min())} to {int(target.max())}"
        )
    return F.one_hot(target.long(), classes)


def prepare(
    logits: Tensor, target: Tensor, smoothing: float, gamma: float
) -> tuple[Tensor, Tensor]:
    """Check the arguments; return logits in at least float32 and the soft label, both (B, K)."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise InvalidInput(f"logits must be (B, K) with K ≥ 2; got shape {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise InvalidInput(f"logits must be of a float dtype; got {logits.dtype}")
    if not len(logits):
        raise InvalidInput("expected at least one row of logits; got none")
    if len(target) != len(logits):
        raise InvalidInput(f"expected {len(logits)} targets, one per row; got {len(target)}")
    at_least_0("gamma", gamma)
    # float64 stays (gradcheck needs it); half precision would overflow in the sums below
    z = logits if logits.dtype == torch.float64 else logits.float()
    return z, soft_labels(target, z.shape[1], smoothing, z.dtype)


def weighted(lp: Tensor, q: Tensor, gamma: float) -> Tensor:
    """(B,) Σ_k (1-p_k)^γ q_k (-lp_k), finite where p_k is exactly 1."""
    if gamma == 0.0:
        return -(q * lp).sum(1)
    # 1-p through expm1 keeps precision near p = 1; the floor keeps d(x^γ) finite at 0 for γ < 1
    miss = (-torch.expm1(lp)).clamp_min(torch.finfo(lp.dtype).tiny)
    return -(miss.pow(gamma) * q * lp).sum(1)


def normalized(lp: Tensor, q: Tensor, gamma: float) -> Tensor:
    """(B,) `weighted` over Σ_k (-lp_k), which is at least K·log K and so never vanishes."""
    return weighted(lp, q, gamma) / -lp.sum(1)


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """A loss (B,) by a key of `REDUCTIONS`."""
    return choose("reduction", reduction, REDUCTIONS)(loss)


def at_least_0(name: str, value: float) -> float:
    """The number, if it is finite and not negative; else InvalidInput names the option."""
    if not 0.0 <= value < math.inf:
        raise InvalidInput(f"{name} must be at least 0 and finite; got {value!r}")
    return value
