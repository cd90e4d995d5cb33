"""Single losses: cross-entropy and its variants, and the normalized soft labels of the paper."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.losses.inputs import normalized, prepare, reduced, soft_labels, weighted

TAU = 0.04  # of `logitnorm`: what arXiv 2205.09310 found on CIFAR-10


def ls(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Label smoothing: Σ_k (1-p_k)^γ q_k (-lp_k) (arXiv 1512.00567; γ: arXiv 1708.02002).

    Args:
        logits: (B, K), any float dtype; computed in float32 (float64 stays float64).
        target: (B,) integer labels or (B, K) soft labels.
        smoothing: s in [0, 1].
        gamma: focal exponent, ≥ 0.
        reduction: 'mean', 'sum' or 'none'.

    Returns:
        A scalar, or (B,) for 'none'; in nats.

    Raises:
        InvalidInput: an argument is not as above.
    """
    z, q = prepare(logits, target, smoothing, gamma)
    return reduced(weighted(F.log_softmax(z, dim=1), q, gamma), reduction)


def ce(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """One-hot cross-entropy -lp_y, the baseline; arguments as `ls`.

    `smoothing` is checked and then not used, so that all losses share one signature.
    """
    soft_labels(target[:0], logits.shape[-1], smoothing)
    return ls(logits, target, smoothing=0.0, gamma=gamma, reduction=reduction)


def nls(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Normalized soft labels: Σ_k (1-p_k)^γ q_k (-lp_k) / Σ_k (-lp_k) (arXiv 2012.06876).

    Arguments as `ls`; without unit. With γ = 0 it equals (1-s)·NCE + s/K, where NCE is the
    normalized cross-entropy of arXiv 2006.13554: the smoothing s only rescales the step, the
    normalization does the work. Then it lies in [s/K, 1-s+s/K] and is 1/K at uniform logits.
    """
    z, q = prepare(logits, target, smoothing, gamma)
    return reduced(normalized(F.log_softmax(z, dim=1), q, gamma), reduction)


def cosine(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The paper's cosine variant: `ls` between L2-normalized soft labels and L2-normalized logits.

    Arguments as `ls`. Logits of norm 1 cannot make a confident softmax, so models trained with
    it are strongly underconfident (arXiv 2012.06876, `isCos` in the authors' code).
    """
    z, q = prepare(logits, target, smoothing, gamma)
    lp = F.log_softmax(_unit(z), dim=1)
    return reduced(weighted(lp, F.normalize(q, dim=1), gamma), reduction)


def focal(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 3.0,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss -(1-p_y)^γ lp_y, with the γ = 3 of arXiv 2002.09437; arguments as `ce`."""
    return ce(logits, target, smoothing=smoothing, gamma=gamma, reduction=reduction)


def logitnorm(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 0.0,
    tau: float = TAU,
    reduction: str = "mean",
) -> Tensor:
    """LogitNorm: cross-entropy of z / (τ·‖z‖) (Wei et al. 2022, arXiv 2205.09310).

    Training cannot lower it by longer logits, only by turning them. Arguments as `ce`, and

    Args:
        tau: τ > 0 and finite.
    """
    if not 0.0 < tau < math.inf:
        raise InvalidInput(f"tau must be above 0 and finite; got {tau!r}")
    z, _ = prepare(logits, target, smoothing, gamma)
    return ce(_unit(z) / tau, target, smoothing=smoothing, gamma=gamma, reduction=reduction)


def _unit(z: Tensor) -> Tensor:
    """Rows (B, K) of L2 norm 1, zeros staying zeros."""
    # scaling by the largest entry first keeps the norm finite for logits of any size
    return F.normalize(z / z.detach().abs().amax(1, keepdim=True).clamp_min(1.0), dim=1)
