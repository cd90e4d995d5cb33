"""Masked or robust? What attacks without a model's own gradient do where that one failed.

A model whose gradient says nothing looks robust to attacks along it, while pictures made for
another model, or a search that sees answers only, still change its label (Athalye et al. 2018,
arXiv 1802.00420).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nls_core.analysis.results import Analysis, ModelAnalysis
from nls_core.attacks import ATTACKS
from nls_core.errors import InvalidInput
from nls_core.nets import Classifier

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
    """The two models to compare at a strength.

    Raises:
        InvalidInput: there are not two, or the strength is 0, or not of L∞.
    """
    if len(analysis.models) != 2:
        raise InvalidInput("expected two different models; choose another candidate")
    if index is None:
        raise InvalidInput("expected a strength above 0; move ε")
    if ATTACKS[analysis.request.attack].norm != "linf":
        raise InvalidInput("expected an attack within ε per pixel (L∞), as Square is one")
    if analysis.request.attack_target is not None:
        raise InvalidInput("expected an attack that leaves the answer, got one with a target")
    first, second = analysis.models
    return first, second


def answers(
    model: Classifier,
    pictures: Tensor,
    at: tuple[int, float, int],
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[int, int]:
    """What a model says of the other's attacked picture, and of what Square finds.

    Args:
        model: from x to logits.
        pictures: (2, C, H, W) in [0, 1]: the clean one, and the other model's attacked one.
        at: the model's answer for the clean picture, ε in pixel units, and the seed.
        progress: called between queries.
    """
    label, epsilon, seed = at
    moved = ATTACKS["square"](
        model,
        pictures[:1],
        torch.tensor([label], device=pictures.device),
        epsilon=epsilon,
        queries=QUERIES,
        seed=seed,
        progress=progress,
    )
    with torch.no_grad():
        said = model(torch.cat([pictures[1:], moved])).argmax(1)
    return int(said[0]), int(said[1])
