"""Attacks that aim at one class after the other, each on what is still right."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nls_core.attacks.threat import Kept, Task, check_count

TARGETS = 9  # of AutoAttack (arXiv 2003.01690)

# (part of the task, start (B, C, H, W), course (B, 2), progress by step) -> (B, C, H, W)
Aimed = Callable[[Task, Tensor, Tensor, Callable[[int], None]], Tensor]


def courses(task: Task, logits: Tensor, count: int) -> Tensor:
    """(B, T, 2): the class to leave and the one to reach, for T targets, the likeliest first.

    T is `count`, or K - 1 where there are fewer other classes; 1 when the attack is targeted: from
    the model's answer, or the likeliest other class where that is the target already, to y.

    Args:
        task: with labels (B,).
        logits: (B, K) of its images.
        count: at least 1.
    """
    others = logits.nan_to_num(-torch.inf).scatter(1, task.y[:, None], -torch.inf)
    if task.options.targeted:
        return torch.stack([others.argmax(1), task.y], 1)[:, None]
    reach = others.topk(min(count, logits.shape[1] - 1)).indices  # (B, T)
    return torch.stack([task.y[:, None].expand_as(reach), reach], 2)


def in_turn(task: Task, count: int, aimed: Aimed) -> Tensor:
    """Run an aimed attack for each target, and for all of them again in each restart.

    A sample that has succeeded is left alone; the others keep the result of the highest `margin`.

    Raises:
        InvalidInput: `count` is no integer of at least 1.
    """
    check_count("targets", count)
    options, logits = task.options, task.logits(task.x)
    course = courses(task, logits, count)
    top = torch.full_like(task.epsilon.flatten(), -torch.inf)  # (B,)
    kept = Kept(task.x.clone(), top, task.succeeded(logits))
    turns, steps = options.restarts * course.shape[1], options.steps
    for turn in range(turns):
        restart, target = divmod(turn, course.shape[1])
        start = task.random_start() if options.random_start or restart else task.x
        rows = kept.left()
        if not len(rows):
            break

        def progress(step: int, turn: int = turn) -> None:
            options.done((turn + step / steps) / turns)

        part = task.take(rows)
        found = aimed(part, start[rows], course[rows, target], progress)
        kept.take(part, rows, found)
    return kept.best
