"""Sums of two losses: this project's own, and published ones to compare it with.

Each takes the arguments of `basic.ls`, and `weight`, the share λ of its second term.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nls_core.losses.inputs import at_least_0, normalized, prepare, reduced, soft_labels, weighted

WEIGHT = 0.006  # λ of `nls_ls`; docs/training.md says how validation chose it
OTHERS = 0.05  # λ of `nls_ce` and `nls_margin`: where docs/rules.md begins its search
MBLS, MARGIN = 0.1, 10.0  # λ and m of `ce_margin`, as published
LOG_0 = -4.0  # A, what stands for log 0 in `nce_rce`


def nls_ls(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    weight: float = WEIGHT,
    reduction: str = "mean",
) -> Tensor:
    """This project's own loss: `nls` + λ·`ls`.

    The normalization cancels the smoothing of `nls`; the second term brings it back, and with it
    a gradient that does not fade as Σ_k (-lp_k) grows. λ moves the model from the overconfidence
    of `nls` to the underconfidence of `ls`. Arguments as `ls`, and

    Args:
        weight: λ ≥ 0; 0 is `nls`.
    """
    at_least_0("weight", weight)
    z, q = prepare(logits, target, smoothing, gamma)
    lp = F.log_softmax(z, dim=1)
    return reduced(weighted(lp, q, gamma) * (weight - 1 / lp.sum(1)), reduction)


def nls_ce(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    weight: float = OTHERS,
    reduction: str = "mean",
) -> Tensor:
    """`nls` + λ·`ce`: as `nls_ls`, but the second term asks for full confidence.

    Its smoothing is that of `nls` alone. Arguments as `nls_ls`.
    """
    at_least_0("weight", weight)
    z, q = prepare(logits, target, smoothing, gamma)
    hot = soft_labels(target, z.shape[1], 0.0, z.dtype)
    lp = F.log_softmax(z, dim=1)
    return reduced(normalized(lp, q, gamma) + weight * weighted(lp, hot, gamma), reduction)


def nls_margin(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    weight: float = OTHERS,
    margin: float = MARGIN,
    reduction: str = "mean",
) -> Tensor:
    """`nls` + λ·Σ_k max(0, z_max - z_k - m): the hinge of `ce_margin` on normalized labels.

    Where no logit is more than m below the largest it is `nls`. Arguments as `nls_ls`, and

    Args:
        margin: m ≥ 0, in logits.
    """
    at_least_0("weight", weight)
    z, q = prepare(logits, target, smoothing, gamma)
    base = normalized(F.log_softmax(z, dim=1), q, gamma)
    return reduced(base + weight * _hinge(z, margin), reduction)


def ce_margin(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    weight: float = MBLS,
    margin: float = MARGIN,
    reduction: str = "mean",
) -> Tensor:
    """MbLS: `ce` + λ·Σ_k max(0, z_max - z_k - m) (Liu et al. 2022, arXiv 2111.15430).

    It bounds the distances of logits instead of pulling all of them to 0, as `ls` does. The sum
    over classes is the paper's; its code takes their mean, so that its λ is K times ours. Arguments
    as `nls_margin`; `smoothing` is checked and then not used.
    """
    at_least_0("weight", weight)
    z, _ = prepare(logits, target, smoothing, gamma)
    hot = soft_labels(target, z.shape[1], 0.0, z.dtype)
    lp = F.log_softmax(z, dim=1)
    return reduced(weighted(lp, hot, gamma) + weight * _hinge(z, margin), reduction)


def _hinge(z: Tensor, margin: float) -> Tensor:
    """(B,) Σ_k max(0, z_max - z_k - m)."""
    gaps = z.amax(1, keepdim=True) - z
    return F.relu(gaps - at_least_0("margin", margin)).sum(1)


def nce_rce(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    weight: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """NCE + λ·RCE, the active-passive loss for noisy labels (Ma et al. 2020, arXiv 2006.13554).

    NCE = -lp_y / Σ_k (-lp_k), which is `nls` at s = 0; RCE = -Σ_k p_k log q_k with log 0 := -4, so
    4·(1 - p_y) for labels. The paper has two factors, α·NCE + β·RCE; dividing by α rescales the
    step alone, so λ = β/α, and 1 is its choice for CIFAR-10. (The code published with it cuts the
    labels at 1e-4, so that log 0 is -9.2.) Arguments as `nls_ls`; `smoothing` is checked and then
    not used.
    """
    at_least_0("weight", weight)
    z, _ = prepare(logits, target, smoothing, gamma)
    hot = soft_labels(target, z.shape[1], 0.0, z.dtype)
    lp = F.log_softmax(z, dim=1)
    rce = -(lp.exp() * torch.log(hot).clamp_min(LOG_0)).sum(1)
    return reduced(normalized(lp, hot, gamma) + weight * rce, reduction)
