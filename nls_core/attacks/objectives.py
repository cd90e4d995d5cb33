"""What attacks climb, and when they have succeeded: functions of logits (B, K) and labels (B,)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from nls_core.errors import InvalidInput


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) the largest other logit minus that of y; positive where y is not the prediction."""
    own = y[:, None]  # (B, 1)
    return logits.scatter(1, own, -math.inf).amax(1) - logits.gather(1, own)[:, 0]


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) difference of logits ratio: margin / (1st - 3rd largest logit) (arXiv 2003.01690).

    Unlike cross-entropy it does not change with the scale of the logits. Targeted attacks lower it
    at the target; the paper's own targeted form, which needs the label to leave too, is `towards`.

    Raises:
        InvalidInput: fewer than 3 classes.
    """
    if logits.shape[1] < 3:
        raise InvalidInput(f"the dlr loss needs at least 3 classes; got {logits.shape[1]}")
    top = logits.topk(3).values  # (B, 3)
    return margin(logits, y) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)


def towards(logits: Tensor, course: Tensor) -> Tensor:
    """(B,) the targeted form of `dlr`: (z_reach - z_leave) / (z_1st - (z_3rd + z_4th) / 2).

    With fewer than 4 classes there is no such ratio, and it is the difference of the two logits:
    attacks that step along the sign of a gradient take the same first step on either.

    Args:
        logits: (B, K).
        course: (B, 2) int64: the class to leave, and the one to reach.
    """
    leave, reach = logits.gather(1, course).unbind(1)  # (B,) each
    if logits.shape[1] < 4:
        return reach - leave
    top = logits.topk(4).values  # (B, 4)
    return (reach - leave) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2).clamp_min(1e-12)


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) cross-entropy in nats."""
    return F.cross_entropy(logits, y, reduction="none")


# (logits (B, K), y (B,)) -> (B,): what gradient attacks raise, or lower when targeted
LOSS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": ce, "dlr": dlr}


def succeeded(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """(B,) bool: the prediction left y, or when targeted reached it; False for NaN logits."""
    return ((logits.argmax(1) == y) == targeted) & ~logits.isnan().any(1)
