"""Auto-PGD: projected gradient ascent that finds its own step size (arXiv 2003.01690).

Croce & Hein 2020. Steps have momentum; at checkpoints that come ever closer the step size of a
sample is halved, and the search goes back to its best point, where too few steps raised the loss
or neither step size nor best loss changed since the checkpoint before.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nls_core.attacks.threat import LOSS, Task, prepare
from nls_core.errors import choose

MOMENTUM, ENOUGH = 0.75, 0.75  # α of the move, ρ of the first condition


def checkpoints(steps: int) -> list[int]:
    """The steps after which the step size may be halved, as the paper spaces them."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # -1e-9: 0.22 · 100 is 22.000000000000004 in floats
    return [at for at in (math.ceil(share * steps - 1e-9) for share in shares[1:]) if at < steps]


class Search:
    """The state of the samples still attacked; all of it is indexed by the same rows."""

    def __init__(self, task: Task, start: Tensor) -> None:
        self.task = task
        self.x, self.before = start.clone(), start.clone()  # (B, C, H, W)
        self.best = start.clone()
        self.step = 2 * task.epsilon  # (B, 1, 1, 1)
        self.gradient, logits = task.gradient(start)
        self.value = self.top = self._value(logits)  # (B,)
        self.hit = task.succeeded(logits)
        self.best_gradient = self.gradient.clone()
        self.rises = torch.zeros_like(self.top)
        self.halved = torch.zeros_like(self.hit)  # at the last checkpoint
        self.top_then = self.top.clone()

    def _value(self, logits: Tensor) -> Tensor:
        return self.task.value(logits, LOSS[self.task.loss])

    def move(self, first: bool) -> None:
        """One step with momentum; the first one has none."""
        ascent = self.gradient.nan_to_num(0.0, 0.0, 0.0).sign() * self.step
        z = self.task.project(self.x + (-ascent if self.task.options.targeted else ascent))
        if not first:
            drift = MOMENTUM * (z - self.x) + (1 - MOMENTUM) * (self.x - self.before)
            z = self.task.project(self.x + drift)
        self.before, self.x = self.x, z

    def look(self) -> None:
        """Evaluate where the move led, and remember what is better."""
        self.gradient, logits = self.task.gradient(self.x)
        value = self._value(logits)
        self.rises += value > self.value
        self.value = value
        success = self.task.succeeded(logits)
        # a success is never given up for a higher loss that is none
        better = (success & ~self.hit) | ((success == self.hit) & (value > self.top))
        self.hit = self.hit | success
        rows = better.view(-1, 1, 1, 1)
        self.best = torch.where(rows, self.x, self.best)
        self.best_gradient = torch.where(rows, self.gradient, self.best_gradient)
        self.top = torch.where(better, value, self.top)

    def halve(self, since: int) -> None:
        """At a checkpoint `since` steps after the last: halve where the search has stalled."""
        few = self.rises < ENOUGH * since
        still = ~self.halved & (self.top <= self.top_then)
        self.halved = few | still
        rows = self.halved.view(-1, 1, 1, 1)
        self.step = torch.where(rows, self.step / 2, self.step)
        self.x = torch.where(rows, self.best, self.x)
        self.before = torch.where(rows, self.best, self.before)
        self.gradient = torch.where(rows, self.best_gradient, self.gradient)
        self.value = torch.where(self.halved, self.top, self.value)
        self.rises, self.top_then = torch.zeros_like(self.rises), self.top


def apgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    loss: str = "dlr",
    **shared: Any,
) -> Tensor:
    """Auto-PGD in the L∞ ball, by default with the DLR loss (arXiv 2003.01690).

    The first run starts at x unless `random_start`; each sample keeps a successful result before
    others, then the one of the highest loss. Arguments, result and errors as `gradient.pgd`.
    """
    choose("attack loss", loss, LOSS)
    with prepare(model, x, y, epsilon=epsilon, norm="linf", **shared) as prepared:
        task = replace(prepared, loss=loss)
        options, best = task.options, task.x.clone()
        top = torch.full_like(task.epsilon.flatten(), -torch.inf)  # (B,)
        hit = torch.zeros_like(task.y, dtype=torch.bool)  # (B,)
        for run in range(options.restarts):
            at_random = options.random_start or run > 0
            search = Search(task, task.random_start() if at_random else task.x)
            marks, last = checkpoints(options.steps), 0
            for step in range(options.steps):
                options.done((run + step / options.steps) / options.restarts)
                search.move(first=step == 0)
                search.look()
                if step + 1 in marks:
                    search.halve(step + 1 - last)
                    last = step + 1
            better = (search.hit & ~hit) | ((search.hit == hit) & (search.top > top))
            best[better], top[better] = search.best[better], search.top[better]
            hit |= search.hit
        return best
