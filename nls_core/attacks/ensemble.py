"""AutoAttack: four attacks that fail for different reasons, in turn (arXiv 2003.01690)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from nls_core.attacks.auto_pgd import STEPS, apgd_ce, apgd_t
from nls_core.attacks.fast_boundary import fab_t
from nls_core.attacks.objectives import margin
from nls_core.attacks.square_search import square
from nls_core.attacks.threat import Kept, Progress, prepare

STAGES: dict[str, Callable[..., Tensor]] = {
    "apgd-ce": apgd_ce,
    "apgd-t": apgd_t,
    "fab-t": fab_t,
    "square": square,
}


def autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | Tensor,
    steps: int = STEPS,
    progress: Progress | None = None,
    **shared: Any,
) -> Tensor:
    """AutoAttack's standard preset in L∞: each of `STAGES` on what the ones before left.

    Croce & Hein 2020, arXiv 2003.01690. `steps` are those of each search, and Square makes 50
    queries for each; as published there are 100, and so 5,000 queries. Samples on which all fail
    keep the result of the highest `margin`. Arguments, result and errors as `gradient.pgd`.
    """
    with prepare(
        model, x, y, epsilon=epsilon, norm="linf", steps=steps, progress=progress, **shared
    ) as task:
        logits = task.logits(task.x)
        kept = Kept(task.x.clone(), task.value(logits, margin), task.succeeded(logits))
        for number, stage in enumerate(STAGES.values()):
            rows = kept.left()
            if not len(rows):
                break

            def share(done: float, number: int = number) -> None:
                if done < 1:  # the last 1 is that of `prepare`
                    task.options.done((number + done) / len(STAGES))

            part = task.take(rows)
            radius = part.epsilon.flatten()
            found = stage(
                model, part.x, part.y, epsilon=radius, steps=steps, progress=share, **shared
            )
            kept.take(part, rows, found)
        return kept.best
