"""Masked or robust? What attacks without a model's own gradient do where that one failed.

A model whose gradient says nothing looks robust to attacks along it, while pictures made for
another model, or a search that sees answers only, still change its label (Athalye et al. 2018,
arXiv 1802.00420).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nls_core.analysis import cost
from nls_core.analysis.backend import Check
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.results import Analysis, ModelAnalysis
from nls_core.attacks import ATTACKS
from nls_core.errors import InvalidInput

if TYPE_CHECKING:
    from nls_core.analysis.analyzer import Analyzer

QUERIES = 500  # of Square, the clean picture included


@dataclass(frozen=True)
class Tried:
    """What one model says at one strength: indices of classes.

    `own`: of the picture that the analysis' attack made against it; `transfer`: of the one made
    against the other model; `square`: of the best that Square found in `QUERIES`.
    """

    clean: int
    own: int
    transfer: int
    square: int

    @property
    def verdict(self) -> str:
        """'changed' by its own attack, 'masked' where only another one did, else 'unchanged'."""
        if self.own != self.clean:
            return "changed"
        others = (self.transfer, self.square)
        return "unchanged" if all(label == self.clean for label in others) else "masked"


@dataclass(frozen=True)
class Comparison:
    """Both models of an analysis at one strength, in pixel units."""

    epsilon: float
    attack: str
    models: tuple[ModelAnalysis, ModelAnalysis]
    tried: tuple[Tried, Tried]


def pair_of(analysis: Analysis, index: int | None) -> tuple[ModelAnalysis, ModelAnalysis]:
    """The two models to compare at a strength, the first ones.

    Raises:
        InvalidInput: there is one only, or the strength is 0, or not of L∞.
    """
    if len(analysis.models) < 2:
        raise InvalidInput("expected two different models; choose another candidate")
    if index is None:
        raise InvalidInput("expected a strength above 0; move ε")
    if ATTACKS[analysis.request.attack].norm != "linf":
        raise InvalidInput("expected an attack within ε per pixel (L∞), as Square is one")
    if analysis.request.attack_target is not None:
        raise InvalidInput("expected an attack that leaves the answer, got one with a target")
    first, second = analysis.models[:2]
    return first, second


def compare(
    analyzer: Analyzer,
    analysis: Analysis,
    index: int | None,
    progress: Callable[[float, str], None] = lambda done, what: None,
) -> Comparison:
    """Show both models of an analysis each other's attacked picture, and attack them with Square.

    Args:
        analyzer: runs them, in turns.
        analysis: of two models or more.
        index: of the strength.
        progress: called with the done share in [0, 1] and what comes next.

    Raises:
        InvalidInput: as `pair_of`.
        TooCostly, QueueFull, Departed, Overdue: as `Analyzer.analyze`.
    """
    pair = pair_of(analysis, index)
    points = [analysis.point(model, index) for model in pair]
    tried = []
    for i, (model, other) in enumerate(zip(pair, reversed(points), strict=True)):
        progress(i / len(pair), f"{model.manifest.id}: Square, {QUERIES} queries")
        pictures = torch.from_numpy(np.stack([analysis.x, other.adversarial]))
        clean = model.prediction.index
        at = (clean, other.epsilon, analysis.request.seed)
        work = partial(answers, pictures, at, analyzer.settings.max_seconds)
        transferred, found = analyzer.run(model.manifest.id, work)
        tried.append(Tried(clean, points[i].prediction.index, transferred, found))
    return Comparison(points[0].epsilon, analysis.request.attack, pair, (tried[0], tried[1]))


def answers(
    pictures: Tensor,
    at: tuple[int, float, int],
    allowed: float,
    loaded: Loaded,
    check: Check,
) -> tuple[int, int]:
    """What a model says of the other's attacked picture, and of what Square finds.

    Args:
        pictures: (2, C, H, W) in [0, 1]: the clean one, and the other model's attacked one.
        at: the model's answer for the clean picture, ε in pixel units, and the seed.
        allowed: seconds of computing.
        loaded: the model.
        check: called between queries.
    """
    cost.allow(loaded.seconds * QUERIES, allowed)
    label, epsilon, seed = at
    pictures = pictures.to(next(loaded.model.parameters()).device)
    moved = ATTACKS["square"](
        loaded.model,
        pictures[:1],
        torch.tensor([label], device=pictures.device),
        epsilon=epsilon,
        queries=QUERIES,
        seed=seed,
        progress=lambda done: check(),
    )
    with torch.no_grad():
        labels = loaded.model(torch.cat([pictures[1:], moved])).argmax(1)
    return int(labels[0]), int(labels[1])
