"""The losses: cross-entropy, label smoothing, and the normalized soft labels of the paper.

Notation: logits z (B, K), lp = log_softmax(z), p = exp(lp), soft label q (B, K) with
q_k = s/K, plus 1-s at the labelled class. Focal weights are (1 - p_k)^γ.

Sources: Uppal & Giddwani, arXiv 2012.06876 (`nls`, `cosine`); Szegedy et al. 2016,
arXiv 1512.00567 (`ls`); Lin et al. 2017, arXiv 1708.02002 (γ); Mukhoti et al. 2020,
arXiv 2002.09437 (`focal`); Ma et al. 2020, arXiv 2006.13554 (NCE, of which `nls` is a rescaling,
and the idea of summing two losses, as `nls_ls` does).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from nls_core.errors import InvalidInput, choose

WEIGHT = 0.006  # λ of `nls_ls`; docs/training.md says how validation chose it
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


def _prepare(
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
    if not 0.0 <= gamma < math.inf:
        raise InvalidInput(f"gamma must be at least 0 and finite; got {gamma!r}")
    # float64 stays (gradcheck needs it); half precision would overflow in the sums below
    z = logits if logits.dtype == torch.float64 else logits.float()
    return z, soft_labels(target, z.shape[1], smoothing, z.dtype)


def _weighted(lp: Tensor, q: Tensor, gamma: float) -> Tensor:
    """(B,) Σ_k (1-p_k)^γ q_k (-lp_k), finite where p_k is exactly 1."""
    if gamma == 0.0:
        return -(q * lp).sum(1)
    # 1-p through expm1 keeps precision near p = 1; the floor keeps d(x^γ) finite at 0 for γ < 1
    miss = (-torch.expm1(lp)).clamp_min(torch.finfo(lp.dtype).tiny)
    return -(miss.pow(gamma) * q * lp).sum(1)


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    return choose("reduction", reduction, REDUCTIONS)(loss)


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
    z, q = _prepare(logits, target, smoothing, gamma)
    return _reduce(_weighted(F.log_softmax(z, dim=1), q, gamma), reduction)


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
    z, q = _prepare(logits, target, smoothing, gamma)
    lp = F.log_softmax(z, dim=1)
    # The denominator is at least K·log K (uniform logits), so it never vanishes.
    return _reduce(_weighted(lp, q, gamma) / -lp.sum(1), reduction)


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
    z, q = _prepare(logits, target, smoothing, gamma)
    # scaling by the largest entry first keeps the norm finite for logits of any size
    unit = F.normalize(z / z.detach().abs().amax(1, keepdim=True).clamp_min(1.0), dim=1)
    return _reduce(_weighted(F.log_softmax(unit, dim=1), F.normalize(q, dim=1), gamma), reduction)


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
    if not 0.0 <= weight < math.inf:
        raise InvalidInput(f"weight must be at least 0 and finite; got {weight!r}")
    z, q = _prepare(logits, target, smoothing, gamma)
    lp = F.log_softmax(z, dim=1)
    return _reduce(_weighted(lp, q, gamma) * (weight - 1 / lp.sum(1)), reduction)


Loss = Callable[..., Tensor]
LOSSES: dict[str, Loss] = {
    "ce": ce,
    "ls": ls,
    "nls": nls,
    "nls_ls": nls_ls,
    "focal": focal,
    "cosine": cosine,
}


def options(smoothing: float, gamma: float, weight: float | None) -> dict[str, float]:
    """The keyword arguments of a loss from a recipe; a weight of None leaves `nls_ls` its own."""
    shared = {"smoothing": smoothing, "gamma": gamma}
    return shared | ({} if weight is None else {"weight": weight})


def accepts(loss: str, option: str) -> bool:
    """Whether a loss of `LOSSES` has an option of this name, such as 'weight'."""
    return option in inspect.signature(LOSSES[loss]).parameters


def stated(loss: str, given: Mapping[str, float]) -> dict[str, float]:
    """Of a loss's options those that change it; manifests state these alone."""
    unused = ("smoothing",) if loss in ("ce", "focal") else ()
    return {name: value for name, value in given.items() if name not in unused}
