"""Controls, not attacks: noise that never asks the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nls_core.attacks.threat import prepare, signs, uniform
from nls_core.errors import InvalidInput


def gaussian(
    model: nn.Module, x: Tensor, y: Tensor, *, epsilon: float | Tensor, **shared: Any
) -> Tensor:
    """A control, not an attack: noise from N(0, ε²) cut to ±ε. The model is never run.

    Arguments, result and errors as `pgd` with L∞; of the shared options only `seed` and `one_start`
    matter.
    """
    with prepare(model, x, y, epsilon=epsilon, norm="linf", **shared) as task:
        like = task.drawn
        noise = torch.randn(like.shape, generator=task.generator, device=x.device, dtype=x.dtype)
        return task.project(task.x + task.epsilon * noise)


def salt_pepper(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    amount: float = 0.5,
    **shared: Any,
) -> Tensor:
    """A control, not an attack: a random share of the pixels is moved by +ε or by -ε.

    All channels of a pixel move together; each pixel with probability `amount` in [0, 1]. The
    model is never run. Otherwise as `gaussian`.
    """
    if not 0.0 <= amount <= 1.0:
        raise InvalidInput(f"amount must lie in [0, 1]; got {amount!r}")
    with prepare(model, x, y, epsilon=epsilon, norm="linf", **shared) as task:
        shape = (len(task.drawn), 1, *x.shape[2:])  # (B or 1, 1, H, W)
        moved = uniform(x, shape, task.generator) < amount
        return task.project(task.x + task.epsilon * moved * signs(x, shape, task.generator))
