"""Attacks along the gradient: FGSM, and projected gradient ascent in L∞ and L2."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nls_core.attacks.objectives import LOSS
from nls_core.attacks.threat import DEFAULT_EPSILONS, Options, Task, l2_norm, per_sample, prepare
from nls_core.errors import InvalidInput, choose


def _climb(
    task: Task, start: Tensor, first: Tensor | None, progress: Callable[[int], None]
) -> Tensor:
    """One run of projected gradient ascent; `first` is the gradient at `start`, if known."""
    adversarial = start.clone()
    rows = torch.arange(len(start), device=start.device)  # those still attacked
    for step in range(task.options.steps):
        progress(step)
        part = task.take(rows)
        if step == 0 and first is not None:
            gradient = first
        else:
            gradient, logits = part.gradient(adversarial[rows])
            task.options.passed(step, logits)
            if task.early_stop:
                left = ~part.succeeded(logits)
                rows, gradient, part = rows[left], gradient[left], part.take(left)
                if not len(rows):
                    break
        move = part.step * direction(gradient, task.norm)
        moved = adversarial[rows] + (-move if task.options.targeted else move)
        adversarial[rows] = part.project(moved)
    return adversarial


def direction(gradient: Tensor, norm: str) -> Tensor:
    """The steepest ascent of length 1 in the norm; what is not finite counts as 0."""
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    if norm == "linf":
        return gradient.sign()
    return gradient / l2_norm(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)


def _best_of_runs(task: Task, first: Tensor | None) -> Tensor:
    """PGD's restarts; each sample keeps a successful result before others, then the highest."""
    options, best = task.options, task.x.clone()
    best_value = torch.full_like(task.epsilon.flatten(), -math.inf)  # (B,)
    hit = torch.zeros_like(task.y, dtype=torch.bool)  # (B,)
    rows = torch.arange(len(best), device=best.device)  # those still attacked
    for run in range(options.restarts):
        at_random = options.random_start or run > 0
        start = task.random_start() if at_random else task.x
        part = task.take(rows)

        def progress(step: int, run: int = run) -> None:
            options.done((run + step / options.steps) / options.restarts)

        found = _climb(part, start[rows], None if at_random else first, progress)
        if options.restarts == 1:
            return found
        logits = part.logits(found)
        value, success = part.value(logits, LOSS[task.loss]), part.succeeded(logits)
        better = (success & ~hit[rows]) | ((success == hit[rows]) & (value > best_value[rows]))
        chosen = rows[better]
        best[chosen], best_value[chosen] = found[better], value[better].to(best_value)
        hit[chosen] = success[better]
        rows = rows[~hit[rows]] if task.early_stop else rows
        if not len(rows):
            break
    return best


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    norm: str,
    step_size: float | Tensor | None = None,
    early_stop: bool = False,
    loss: str = "ce",
    first_gradient: Tensor | None = None,
    **shared: Any,
) -> Tensor:
    """Projected gradient descent in an L∞ or L2 ball (Madry et al. 2017, arXiv 1706.06083).

    Args:
        model: from x to logits (B, K); images of a batch must not influence each other.
        x: (B, C, H, W), of a float dtype, in [0, 1]; not modified.
        y: (B,) integer labels in [0, K), to leave or (when `targeted`) to reach.
        epsilon: radius in pixel units, one or (B,): L∞ in [0, 1], L2 finite and ≥ 0.
        norm: 'linf' or 'l2', the latter over all channels and pixels.
        step_size: in pixel units, one or (B,); None is 2.5·ε/steps.
        early_stop: no longer change samples that have succeeded.
        loss: a key of `LOSS`.
        first_gradient: the gradient of the loss of y at x, (B, C, H, W) of any scale, where it is
            known already: saves the first forward and backward unless the start is random.
        shared: see `Options`. Of several runs each sample keeps the best: a successful one
            before others, then the highest loss (the lowest when targeted).

    Returns:
        (B, C, H, W) in [0, 1], detached, on x's device and in its dtype, in the ball around x to
        rounding; exactly x where ε = 0.

    Raises:
        InvalidInput: an argument or the model's output is not as above.
        UnknownName: no such loss or norm.
        TypeError: an option that does not exist.
    """
    choose("attack loss", loss, LOSS)
    choose("norm", norm, DEFAULT_EPSILONS)
    with prepare(model, x, y, epsilon=epsilon, norm=norm, **shared) as task:
        known = None if first_gradient is None else _like(x, first_gradient)
        step = task.step if step_size is None else per_sample("step_size", step_size, x, math.inf)
        return _best_of_runs(replace(task, step=step, loss=loss, early_stop=early_stop), known)


def _like(x: Tensor, gradient: Tensor) -> Tensor:
    """A copy of a gradient (B, C, H, W) on x's device and in its dtype."""
    if gradient.shape != x.shape:
        raise InvalidInput(
            f"first_gradient must be of x's shape {tuple(x.shape)}; got {tuple(gradient.shape)}"
        )
    return gradient.detach().to(x, copy=True)


def pgd_linf(
    model: nn.Module, x: Tensor, y: Tensor, *, epsilon: float | Tensor, **options: Any
) -> Tensor:
    """`pgd` in the L∞ ball, with its options; ε in [0, 1]."""
    return pgd(model, x, y, epsilon=epsilon, norm="linf", **options)


def pgd_l2(
    model: nn.Module, x: Tensor, y: Tensor, *, epsilon: float | Tensor, **options: Any
) -> Tensor:
    """`pgd` in the L2 ball, with its options; ε ≥ 0 may be above 1."""
    return pgd(model, x, y, epsilon=epsilon, norm="l2", **options)


def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    loss: str = "ce",
    first_gradient: Tensor | None = None,
    **shared: Any,
) -> Tensor:
    """Fast gradient sign: x + ε·sign(∂loss/∂x), clipped to [0, 1] (arXiv 1412.6572).

    That is `pgd` with one step of size ε; arguments, result and errors are its own.
    """
    once = replace(Options(**shared), steps=1, restarts=1, random_start=False)
    options = {"loss": loss, "first_gradient": first_gradient, "step_size": epsilon} | vars(once)
    return pgd_linf(model, x, y, epsilon=epsilon, **options)
