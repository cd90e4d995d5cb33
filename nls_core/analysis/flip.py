"""The flip point: the smallest strength at which PGD was found to change a model's label.

One strength after the other: on a CPU a batch of strengths takes as long as its parts, and most of
a ladder need not be tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nls_core.analysis.results import FlipPoint
from nls_core.attacks import ATTACKS, objectives

ATTACK = "pgd-linf"
STEPS = 10
PLACES = 16  # strengths within 1/255


def find(
    model: nn.Module,
    x: Tensor,
    label: int,
    *,
    ladder: Sequence[float],
    seed: int = 0,
    progress: Callable[[float], None] = lambda done: None,
) -> FlipPoint:
    """Climb a ladder of strengths to the first that changes the label, then bisect below it.

    What comes out is a strength at which PGD (`STEPS` steps, random start of this seed) changes the
    label, while it does not at 1/16 of 1/255 less. PGD's success need not grow with ε, so a smaller
    strength that was not tried may change it as well; and a stronger attack may need less: the flip
    point is an upper bound of the least ε that changes the label.

    Args:
        model: from x to logits (1, K).
        x: (1, C, H, W) in [0, 1].
        label: the model's answer for x.
        ladder: rising strengths in 1/255, multiples of 1/16.
        progress: called with the done share; between any two steps of an attack.
    """
    attack = _Attack(model, x, label, seed, most_runs(ladder), progress)
    most = ladder[-1] / 255
    low, found = 0, None
    for high in (round(PLACES * strength) for strength in ladder):
        found = attack.new_label(high)
        if found is not None:
            break
        low = high
    else:
        return FlipPoint(None, None, most)
    while high - low > 1:
        middle = (low + high) // 2
        seen = attack.new_label(middle)
        if seen is None:
            low = middle
        else:
            high, found = middle, seen
    return FlipPoint(high / PLACES / 255, found, most)


@dataclass
class _Attack:
    """PGD on one picture, at one strength after the other; arguments as `find`."""

    model: nn.Module
    x: Tensor
    label: int
    seed: int
    runs: int  # at most
    progress: Callable[[float], None]
    done: int = 0  # runs so far

    def new_label(self, place: int) -> int | None:
        """What the model says at a strength in 1/16 of 1/255; None where it keeps its label."""
        before, self.done = self.done, self.done + 1
        y = torch.tensor([self.label], device=self.x.device)
        moved = ATTACKS[ATTACK](
            self.model,
            self.x,
            y,
            epsilon=place / PLACES / 255,
            steps=STEPS,
            seed=self.seed,
            random_start=True,
            early_stop=True,
            progress=lambda share: self.progress(min((before + share) / self.runs, 1.0)),
        )
        with torch.no_grad():
            logits = self.model(moved)
        return int(logits.argmax(1)) if bool(objectives.succeeded(logits, y)) else None


def most_runs(ladder: Sequence[float]) -> int:
    """How often PGD runs at most: up the ladder, and to halve one of its gaps."""
    places = [0, *(round(PLACES * strength) for strength in ladder)]
    gaps = [high - low for low, high in itertools.pairwise(places)]
    return max(rung + math.ceil(math.log2(gap)) for rung, gap in enumerate(gaps, start=1))


def passes(ladder: Sequence[float]) -> float:
    """What it costs at most, in forward passes."""
    return most_runs(ladder) * (1 + ATTACKS[ATTACK].cost * STEPS)
