"""Auto-PGD: projected gradient ascent that finds its own step size (arXiv 2003.01690).

Croce & Hein 2020. Steps have momentum; at checkpoints that come ever closer the step size of a
sample is halved, and the search goes back to its best point, where too few steps raised the loss
or neither step size nor best loss changed since the checkpoint before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nls_core.attacks import targets as turns
from nls_core.attacks.objectives import LOSS, towards
from nls_core.attacks.threat import Task, prepare
from nls_core.errors import choose

MOMENTUM = 0.75  # α of the move
ENOUGH = 0.75  # ρ of the first condition: this share of the steps raised the loss
STEPS = 100  # of the published attacks
TRIAL = 10  # steps after which a search may be given up


def checkpoints(steps: int) -> list[int]:
    """The steps after which the step size may be halved, as the paper spaces them."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # -1e-9: 0.22 · 100 is 22.000000000000004 in floats
    return [at for at in (math.ceil(share * steps - 1e-9) for share in shares[1:]) if at < steps]


class Search:
    """The state of the samples still attacked; all of it is indexed by the same rows.

    It climbs the loss of the task, or where `course` (B, 2) is given, `towards`.
    """

    _ROWS = (
        *("x", "before", "best", "gradient", "best_gradient", "step"),
        *("value", "top", "top_then", "hit", "rises", "halved"),
    )

    def __init__(self, task: Task, start: Tensor, course: Tensor | None = None) -> None:
        self.task, self.course = task, course
        self.x, self.before = start.clone(), start.clone()  # (B, C, H, W)
        self.best = start.clone()
        self.step = 2 * task.epsilon  # (B, 1, 1, 1)
        self.gradient, logits = task.gradient_of(start, self._value)
        self.value = self.top = self._value(logits)  # (B,)
        self.hit = task.succeeded(logits)
        self.best_gradient = self.gradient.clone()
        self.rises = torch.zeros_like(self.top)
        self.halved = torch.zeros_like(self.hit)  # at the last checkpoint
        self.top_then = self.top.clone()

    def _value(self, logits: Tensor) -> Tensor:
        if self.course is None:
            return self.task.value(logits, LOSS[self.task.loss])
        return towards(logits, self.course)

    def keep(self, rows: Tensor) -> None:
        """Go on with some samples only: (B,) bool."""
        self.task = self.task.take(rows)
        self.course = None if self.course is None else self.course[rows]
        for name in self._ROWS:
            setattr(self, name, getattr(self, name)[rows])

    def move(self, first: bool) -> None:
        """One step with momentum; the first one has none."""
        z = self.task.project(self.x + self.gradient.nan_to_num(0.0, 0.0, 0.0).sign() * self.step)
        if not first:
            drift = MOMENTUM * (z - self.x) + (1 - MOMENTUM) * (self.x - self.before)
            z = self.task.project(self.x + drift)
        self.before, self.x = self.x, z

    def look(self) -> None:
        """Evaluate where the move led, and remember what is better."""
        self.gradient, logits = self.task.gradient_of(self.x, self._value)
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


def climb(
    task: Task,
    start: Tensor,
    course: Tensor | None,
    progress: Callable[[int], None],
    give_up: float = math.inf,
) -> tuple[Tensor, Tensor, Tensor]:
    """One search for each sample; with the task's `early_stop` a sample leaves at its success.

    It also leaves where after `TRIAL` steps no value was above -`give_up`.

    Returns:
        The best points (B, C, H, W), their values (B,), and which are successes (B,).
    """
    search = Search(task, start, course)
    best, top, hit = search.best.clone(), search.top.clone(), search.hit.clone()
    rows = torch.arange(len(start), device=start.device)  # those still attacked
    marks, last = checkpoints(task.options.steps), 0
    for step in range(task.options.steps):
        progress(step)
        left = ~search.hit if task.early_stop else torch.ones_like(search.hit)
        if step == TRIAL:
            left &= search.top > -give_up
        if not bool(left.all()):
            rows = rows[left]
            search.keep(left)
            if not len(rows):
                break
        search.move(first=step == 0)
        search.look()
        best[rows], top[rows], hit[rows] = search.best, search.top, search.hit
        if step + 1 in marks:
            search.halve(step + 1 - last)
            last = step + 1
    return best, top, hit


def apgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    loss: str = "dlr",
    early_stop: bool = False,
    **shared: Any,
) -> Tensor:
    """Auto-PGD in the L∞ ball, by default with the DLR loss (arXiv 2003.01690).

    The first run starts at x unless `random_start`; each sample keeps a successful result before
    others, then the one of the highest loss. With `early_stop` a sample is done at its first
    success. Arguments, result and errors as `gradient.pgd`.
    """
    choose("attack loss", loss, LOSS)
    with prepare(model, x, y, epsilon=epsilon, norm="linf", **shared) as prepared:
        task = replace(prepared, loss=loss, early_stop=early_stop)
        options, best = task.options, task.x.clone()
        top = torch.full_like(task.epsilon.flatten(), -torch.inf)  # (B,)
        hit = torch.zeros_like(task.y, dtype=torch.bool)  # (B,)
        if early_stop:
            hit = task.succeeded(task.logits(task.x))
        for run in range(options.restarts):
            start = task.random_start() if options.random_start or run > 0 else task.x
            rows = (~hit if early_stop else torch.ones_like(hit)).nonzero()[:, 0]
            if not len(rows):
                break

            def progress(step: int, run: int = run) -> None:
                options.done((run + step / options.steps) / options.restarts)

            found, value, success = climb(task.take(rows), start[rows], None, progress)
            better = (success & ~hit[rows]) | ((success == hit[rows]) & (value > top[rows]))
            chosen = rows[better]
            best[chosen], top[chosen] = found[better], value[better]
            hit[rows] |= success
        return best


def apgd_ce(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    steps: int = STEPS,
    random_start: bool = True,
    **shared: Any,
) -> Tensor:
    """Auto-PGD on the cross-entropy, the first attack of AutoAttack (arXiv 2003.01690).

    As published it starts at random, and is done with a sample at its first success; otherwise
    `apgd`.
    """
    options: dict[str, Any] = {"steps": steps, "random_start": random_start} | shared
    return apgd(model, x, y, epsilon=epsilon, loss="ce", early_stop=True, **options)


def apgd_t(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    targets: int = turns.TARGETS,
    give_up: float = math.inf,
    steps: int = STEPS,
    random_start: bool = True,
    **shared: Any,
) -> Tensor:
    """Targeted Auto-PGD, the second attack of AutoAttack (arXiv 2003.01690).

    For each of the likeliest other classes in turn, a search of `steps` on `towards` from
    a random start, each on what the ones before left; any wrong answer is a success. With
    `targeted` there is one such search, towards y and away from the model's answer for x.
    Arguments, result and errors as `gradient.pgd`, and

    Args:
        targets: how many classes; all others where there are fewer.
        give_up: a target is left where after `TRIAL` steps `towards`, which is positive at
            a success, was always below -`give_up`; as published, never.
    """
    options: dict[str, Any] = {"steps": steps, "random_start": random_start} | shared
    with prepare(model, x, y, epsilon=epsilon, norm="linf", **options) as prepared:
        task = replace(prepared, early_stop=True)

        def aimed(part: Task, start: Tensor, course: Tensor, progress: Any) -> Tensor:
            return climb(part, start, course, progress, give_up)[0]

        return turns.in_turn(task, targets, aimed)
