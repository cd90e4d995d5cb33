"""The protocol `out_of_fold`: one network for each fold, which never saw the objects it answers.

Objects of a fold are answered by a network that was trained on the other four, so accuracy,
calibration and the maps' scores rest on every object; the network that ships is trained on all.
What is measured of a network stands in `out_of_fold_measure`, the choice of its rate in
`out_of_fold_search`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nls_core import nets
from nls_core.data.folds import FOLDS
from nls_core.families.recipe import Recipe
from nls_core.metrics import calibration
from nls_core.training import finetune
from nls_core.training.finetune import PreparedFolds

Progress = Callable[[str, int], None]  # what is done, and images
MOST = 0.9  # a network that gives this share of the objects one name has learnt nothing


def silent(what: str, done: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Trained:
    """A network as it is kept: its weights, and how it learnt.

    `losses` has the mean loss of each epoch, `passes` (epochs, n, K) the logits that the network
    of each epoch gave the first test rendering of the n objects of its fold; empty without one.
    """

    state: Mapping[str, Tensor]
    losses: tuple[float, ...]
    passes: Tensor


@dataclass(frozen=True)
class Cell:
    """What one loss, padding and seed came to, as it is kept.

    `recipe` is that of the shipped network, `settings` what was chosen for each fold. `logits`
    (N·T, K) are of all test renderings, out of fold, those of an object in a row; `outside`
    (folds, M, K) are the fold networks' logits of backgrounds without an object. `scores` name ->
    (N,) or, under attack, (A,) mask scores of the maps, `right` attack -> (E, N) bool right answers
    under the attacks that are `asked`, and `attacked` (E, N, K) the logits there, both empty where
    none are. `losses` (epochs,) and `passes` (epochs, N, K) are those of `Trained` over all folds,
    and `state` the weights that ship.
    """

    recipe: Recipe
    settings: tuple[dict[str, float], ...]
    logits: Tensor
    outside: Tensor
    scores: Mapping[str, Tensor]
    asked: Mapping[str, Any]
    right: Mapping[str, Tensor]
    attacked: Tensor
    losses: tuple[float, ...]
    passes: Tensor
    state: Mapping[str, Tensor]


def name_of(recipe: Recipe) -> str:
    """The cell of a recipe: `<loss>-<padding>`."""
    return f"{recipe.loss}-{recipe.padding}"


def answers(
    model: nets.Classifier, prepared: PreparedFolds, which: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits and labels of some test renderings."""
    _, back = finetune.halves(model, prepared.frozen)
    return finetune.answer(back, prepared.test_features[which]), prepared.test.labels[which]


def collapsed(logits: Tensor, labels: Tensor, zero_shot: Tensor) -> str:
    """In words why answers (n, K) are not those of a trained network, else nothing.

    Args:
        logits: of objects that it was not trained on.
        labels: (n,).
        zero_shot: (n, K), what ImageNet alone answers.
    """
    named = logits.argmax(1)
    if not bool(logits.isfinite().all()):
        return "its answers are not finite"
    most = float(named.bincount().max()) / len(named)
    if most >= MOST:
        return f"it gives {most:.0%} of the objects one name"
    mine, reference = (float((z.argmax(1) == labels).double().mean()) for z in (logits, zero_shot))
    if mine < reference:
        return f"it names {mine:.1%} right, ImageNet alone without training {reference:.1%}"
    return ""


def train_fold(
    recipe: Recipe, prepared: PreparedFolds, fold: int | None, progress: Progress = silent
) -> Trained:
    """Train the network of a fold on the others; None trains on all, which nothing tests."""
    name = name_of(recipe)
    shown = prepared.firsts & (prepared.test.folds == (-1 if fold is None else fold))
    inputs, losses, passes = prepared.test_features[shown], [], []

    def watch(loss: float, network: nn.Module) -> None:
        losses.append(loss)
        if fold is not None:
            passes.append(finetune.answer(network, inputs))

    others = None if fold is None else set(range(FOLDS)) - {fold}
    model = finetune.trained(recipe, prepared, others, lambda n: progress(name, n), watch)
    stacked = torch.stack(passes) if passes else torch.zeros(0, 0, prepared.classes)
    return Trained(model.net.state_dict(), tuple(losses), stacked)


def curve(cell: Cell, labels: Tensor) -> list[dict[str, str]]:
    """How a cell learnt, as rows of a log: figures out of fold after each epoch, `labels` (N,)."""
    rows = []
    for epoch, (loss, logits) in enumerate(zip(cell.losses, cell.passes, strict=True), 1):
        rows.append({"epoch": epoch, "train_loss": loss} | validation(logits.softmax(1), labels))
    return [{name: f"{value:.6f}" for name, value in row.items()} for row in rows]


def validation(probs: Tensor, labels: Tensor) -> dict[str, float]:
    """The figures that logs have of probabilities (N, K), by their names there."""
    return {
        "val_accuracy": calibration.accuracy(probs, labels),
        "val_ece": calibration.ece(probs, labels),
        "val_nll": calibration.nll(probs, labels),
        "val_confidence": float(probs.amax(1).mean()),
    }


def in_order(parts: Sequence[Tensor], index: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The folds' results along a dimension, in the order of the objects that `index` names."""
    return torch.cat(list(parts), dim).index_select(dim, torch.cat(list(index)).argsort())
