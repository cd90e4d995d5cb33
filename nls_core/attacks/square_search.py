"""The Square attack: random search without gradients (arXiv 1912.00049)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nls_core.attacks.objectives import margin
from nls_core.attacks.threat import check_count, prepare, signs

# at these shares of the queries Square halves the area of its squares (the authors' schedule)
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def square(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    queries: int | None = None,
    **shared: Any,
) -> Tensor:
    """Square attack in the L∞ ball: random search without gradients (arXiv 1912.00049).

    Stripes of ±ε first, then ever smaller squares moved by ±2ε and brought back into the ball;
    a change stays where it raises `margin`, so no sample ends worse than it began. A sample is
    done at its first success. Arguments, result and errors as `pgd`, and

    Args:
        queries: forward passes for each image, the clean one included; None is 50·steps.
    """
    with prepare(model, x, y, epsilon=epsilon, norm="linf", **shared) as task:
        total = 50 * task.options.steps if queries is None else queries
        check_count("queries", total)
        best, logits = task.x.clone(), task.logits(task.x)
        value = task.value(logits, margin)  # (B,)
        rows = (~task.succeeded(logits)).nonzero()[:, 0]
        for query in range(1, total):
            if not len(rows):
                break
            task.options.done(query / total)
            share = query / total if query > 1 else None
            change = proposal(task.drawn, share, task.generator)
            change = change.expand(len(task.x), -1, -1, -1)[rows]
            part = task.take(rows)
            candidate = part.project(best[rows] + 2 * part.epsilon * change)
            logits = part.logits(candidate)
            now, success = part.value(logits, margin), part.succeeded(logits)
            better = success | (now > value[rows])
            best[rows[better]], value[rows[better]] = candidate[better], now[better]
            rows = rows[~success]
        return best


def proposal(x: Tensor, share: float | None, generator: torch.Generator | None) -> Tensor:
    """(B, C, H or 1, W) of -1, 0 and 1: vertical stripes, or a square for a share of the queries.

    Drawn for the whole batch, so that no sample depends on when another one is done.
    """
    count, channels, height, width = x.shape
    if share is None:
        return signs(x, (count, channels, 1, width), generator)
    area = 0.8 * height * width / 2 ** sum(share > limit for limit in _HALVINGS)
    side = min(max(round(math.sqrt(area)), 1), height, width)

    def band(size: int) -> Tensor:  # (B, size): True on a random stretch of `side`
        first = torch.randint(size - side + 1, (count, 1), generator=generator, device=x.device)
        place = torch.arange(size, device=x.device)
        return (place >= first) & (place < first + side)

    inside = band(height)[:, None, :, None] & band(width)[:, None, None, :]  # (B, 1, H, W)
    return inside * signs(x, (count, channels, 1, 1), generator)
