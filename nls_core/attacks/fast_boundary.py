"""FAB: the fast adaptive boundary attack, which looks for the smallest change (arXiv 1907.02044).

Croce & Hein 2019. The boundary between two classes is taken as the hyperplane that the gradient
makes of it; each step goes to the nearest points of that plane from where the search is and from
the picture itself, a little beyond, and comes back towards the picture once the answer is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nls_core.attacks import targets as turns
from nls_core.attacks.objectives import margin
from nls_core.attacks.threat import Task, prepare

STEPS = 100  # of AutoAttack
PULL = 0.1  # α_max: how much of a step may start from the picture itself
BEYOND = 1.05  # η: how far past the plane
BACK = 0.9  # β: how much of a successful change is kept for the next step
ROUNDS = 30  # of Newton's method, which needs about five


def fab_t(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    targets: int = turns.TARGETS,
    steps: int = STEPS,
    **shared: Any,
) -> Tensor:
    """Targeted FAB in L∞, the third attack of AutoAttack (arXiv 1907.02044, 2003.01690).

    Each of the likeliest other classes in turn, `steps` each, on what the ones before left. The
    change is about the smallest that succeeds, so it is often below ε; where it would have to be
    larger, it is cut to ε. Options, `targeted` among them, as `auto_pgd.apgd_t`; the first run
    starts at x.
    """
    options: dict[str, Any] = {"steps": steps} | shared
    with prepare(model, x, y, epsilon=epsilon, norm="linf", **options) as task:
        return turns.in_turn(task, targets, _nearest)


def _nearest(task: Task, start: Tensor, course: Tensor, progress: Callable[[int], None]) -> Tensor:
    """(B, C, H, W): the nearest success, or the last point, brought into the ball."""
    best, at = start.clone(), start.clone()
    radius = torch.full_like(task.epsilon, torch.inf)  # (B, 1, 1, 1) of the nearest success
    rows = torch.arange(len(start), device=start.device)  # those without one in the ball
    for step in range(task.options.steps):
        progress(step)
        part, way = task.take(rows), course[rows]
        at = _step(part, at, way)
        success = part.succeeded(part.logits(at)).view(-1, 1, 1, 1)
        far = (at - part.x).abs().amax((1, 2, 3), keepdim=True)
        nearer = success & (far < radius[rows])
        # without any success, the last point is all there is
        best[rows] = torch.where(nearer | radius[rows].isinf(), at, best[rows])
        radius[rows] = torch.where(nearer, far, radius[rows])
        left = (radius[rows] > part.epsilon).flatten()
        at = torch.where(success, part.x + BACK * (at - part.x), at)
        rows, at = rows[left], at[left]
        if not len(rows):
            break
    return task.project(best)


def _step(task: Task, at: Tensor, course: Tensor) -> Tensor:
    """From (B, C, H, W) to near the boundary, biased towards the picture."""

    def gap(logits: Tensor) -> Tensor:  # (B,): 0 on the boundary
        if task.options.targeted:  # towards y, whichever other class is in between
            return -margin(logits, task.y)
        leave, reach = logits.gather(1, course).unbind(1)
        return reach - leave

    gradient, logits = task.gradient_of(at, gap)
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    need = -gap(logits)  # what the plane still lacks at `at`, and below at the picture
    here = to_plane(at, gradient, need)
    there = to_plane(task.x, gradient, need + (gradient * (at - task.x)).sum((1, 2, 3)))
    near, home = (d.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-8) for d in (here, there))
    pull = (near / (near + home)).clamp_max(PULL)
    return ((at + BEYOND * here) * (1 - pull) + (task.x + BEYOND * there) * pull).clamp(0.0, 1.0)


def to_plane(x: Tensor, normal: Tensor, need: Tensor) -> Tensor:
    """The change of the least L∞ norm that gives normal · change = need and stays in [0, 1].

    A change of radius r gains Σ |normal_i| min(r, room_i) at most, where room_i is how far pixel i
    can go that way. This is concave in r and made of lines, so Newton's method from r = 0 comes
    from below and is exact after a few rounds. Where no change is enough, all room is used.

    Args:
        x: (B, C, H, W) in [0, 1].
        normal: (B, C, H, W).
        need: (B,), of either sign.
    """
    sign = normal.sign() * need.sign().view(-1, 1, 1, 1)
    weight, room = normal.abs(), torch.where(sign > 0, 1 - x, x)
    wanted, radius = need.abs().view(-1, 1, 1, 1), torch.zeros_like(x[:, :1, :1, :1])
    for _ in range(ROUNDS):
        gained = (weight * torch.minimum(room, radius)).sum((1, 2, 3), keepdim=True)
        slope = (weight * (room > radius)).sum((1, 2, 3), keepdim=True)
        more = torch.where(slope > 0, (wanted - gained) / slope, 0.0)
        after = radius + more.clamp_min(0.0)
        if bool((after <= radius * (1 + 1e-6)).all()):
            break
        radius = after
    return sign * torch.minimum(room, radius)
