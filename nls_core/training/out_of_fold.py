"""The family `photos`: learning rates, answers and maps out of fold, and the models that ship.

Objects of a fold are answered by a network that was trained on the other four, so accuracy,
calibration and the maps' scores rest on every object; the network that ships is trained on all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from nls_core import cams, nets
from nls_core.attacks import ATTACKS
from nls_core.data.folds import FOLDS
from nls_core.families import FAMILIES, Masks
from nls_core.metrics import calibration, mask_scores
from nls_core.training import finetune
from nls_core.training.finetune import Plan, PreparedFolds

PLAN = Plan()
MASKS = FAMILIES["photos"].masks or Masks(())
# how much is trained: shorter runs than those that ship, for all of them costs an hour of a core
VARIANTS: dict[str, Plan] = {
    "frozen backbone": replace(PLAN, frozen=7, renderings=4, lr=0.01),
    "last block": replace(PLAN, frozen=6, renderings=4, lr=0.01),
    "all blocks": replace(PLAN, frozen=0, renderings=4, lr=0.01),
}
Progress = Callable[[str, int], None]  # what is done, and images


def silent(what: str, done: int) -> None:
    """A report that tells nothing."""


@dataclass(frozen=True)
class Cell:
    """What one loss and padding came to.

    `plan` has the rate of the shipped network, `rates` are those of the folds. `logits` (N, K) are
    of all objects, out of fold; `scores` name -> (N,) or, under attack, (A,) mask
    scores of the maps, out of fold too; `outside` (M, K) are the shipped network's logits of
    backgrounds without an object, and `state` its weights.
    """

    plan: Plan
    rates: tuple[float, ...]
    logits: Tensor
    scores: Mapping[str, Tensor]
    outside: Tensor
    state: Mapping[str, Tensor]


def name_of(plan: Plan) -> str:
    """The cell of a plan: `<loss>-<padding>`."""
    return f"{plan.loss}-{plan.padding}"


def search(
    plan: Plan, prepared: PreparedFolds, rates: Sequence[float], report: Progress = silent
) -> list[dict[str, float]]:
    """Try learning rates without the fold that is tested later.

    For each fold, the next one validates what the other three train.

    Returns:
        A row for each rate and fold: 'lr', 'fold', 'val_accuracy' and 'val_nll'.
    """
    rows = []
    for rate in rates:
        for fold in range(FOLDS):
            held = (fold + 1) % FOLDS
            others = set(range(FOLDS)) - {fold, held}
            model = finetune.trained(
                replace(plan, lr=rate), prepared, others, lambda n: report(f"{plan.loss} rates", n)
            )
            logits, labels = answers(model, prepared, prepared.test.folds == held)
            probs = logits.softmax(1)
            measured = {
                "val_accuracy": calibration.accuracy(probs, labels),
                "val_nll": calibration.nll(probs, labels),
            }
            rows.append({"lr": rate, "fold": fold} | measured)
    return rows


def chosen(rows: Sequence[Mapping[str, float]], fold: int | None = None) -> float:
    """The best rate by validation accuracy, then NLL: for one fold, or (None) over all."""
    rates = dict.fromkeys(row["lr"] for row in rows)

    def value(rate: float) -> tuple[float, float]:
        mine = [r for r in rows if r["lr"] == rate and fold in (None, r["fold"])]
        return sum(r["val_accuracy"] for r in mine), -sum(r["val_nll"] for r in mine)

    return max(rates, key=value)


def answers(
    model: nets.Classifier, prepared: PreparedFolds, which: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits and labels of some test renderings."""
    _, back = finetune.halves(model, prepared.frozen)
    return finetune.answer(back, prepared.test_features[which]), prepared.test.labels[which]


def _fold_models(
    plan: Plan, rates: Sequence[float], prepared: PreparedFolds, report: Callable[[int], None]
) -> Iterator[tuple[Tensor, nets.Classifier]]:
    """For each fold: (N,) bool, its objects, and a network that was trained on the others."""
    for fold, rate in enumerate(rates):
        others = set(range(FOLDS)) - {fold}
        model = finetune.trained(replace(plan, lr=rate), prepared, others, report)
        yield prepared.test.folds == fold, model


def train(
    plan: Plan,
    rows: Sequence[Mapping[str, float]],
    prepared: PreparedFolds,
    report: Progress = silent,
) -> Cell:
    """Train a cell, fold by fold and whole; `rows` are those of `search`."""
    rates = tuple(chosen(rows, fold) for fold in range(FOLDS))
    name = name_of(plan)
    logits = torch.zeros(len(prepared.test.labels), prepared.classes)
    parts: list[tuple[Tensor, dict[str, Tensor]]] = []
    for held, model in _fold_models(plan, rates, prepared, lambda n: report(name, n)):
        logits[held], _ = answers(model, prepared, held)
        parts.append((torch.nonzero(held).flatten(), map_scores(model, prepared, held)))
        report(f"{name}: maps", int(held.sum()))
    plan = replace(plan, lr=chosen(rows))
    model = finetune.trained(plan, prepared, report=lambda n: report(name, n))
    _, back = finetune.halves(model, prepared.frozen)
    outside = finetune.answer(back, prepared.outside_features)
    return Cell(plan, rates, logits, _gathered(parts), outside, model.net.state_dict())


def out_of_fold(plan: Plan, prepared: PreparedFolds, report: Progress = silent) -> Tensor:
    """Logits (N, K) of every object by a network that never saw it, at the plan's own rate."""
    logits = torch.zeros(len(prepared.test.labels), prepared.classes)
    rates = [plan.lr] * FOLDS
    for held, model in _fold_models(plan, rates, prepared, lambda n: report("variants", n)):
        logits[held], _ = answers(model, prepared, held)
    return logits


def _gathered(parts: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """The folds' scores in the order of the objects."""
    order = torch.cat([index for index, _ in parts]).argsort()
    attacked = torch.cat([index[attacked_of(index)] for index, _ in parts]).argsort()
    return {
        name: torch.cat([scores[name] for _, scores in parts])[
            attacked if name.startswith("attacked") else order
        ]
        for name in parts[0][1]
    }


def attacked_of(index: Tensor) -> Tensor:
    """(n,) bool: which of a fold's n objects are attacked, one in `MASKS.every`."""
    return torch.arange(len(index)) % MASKS.every == 0


def map_scores(model: nets.Classifier, prepared: PreparedFolds, which: Tensor) -> dict[str, Tensor]:
    """Mask scores of every method's maps on the test renderings of some objects.

    Maps explain the class that the model names. Under attack (PGD, as `MASKS` says) they are
    those of the attacked picture, for the class named there.

    Returns:
        '<state> <method> <score>' and '<state> control <score>' -> (n,) float64.
    """
    front, back = finetune.halves(model, prepared.frozen)
    index = torch.nonzero(which).flatten()
    some = attacked_of(index)
    x = prepared.test.images[index[some]].float() / 255
    named = finetune.answer(back, prepared.test_features[index[some]]).argmax(1)
    moved = torch.cat(
        [
            ATTACKS["pgd-linf"](model, part, label, epsilon=MASKS.epsilon, steps=MASKS.steps)
            for part, label in zip(torch.split(x, 16), torch.split(named, 16), strict=True)
        ]
    )
    with torch.no_grad():
        adversarial = torch.cat([front(part) for part in torch.split(moved, 16)])
    inputs = {
        "clean": (prepared.test_features[index].float(), prepared.test.masks[index]),
        "attacked": (adversarial, prepared.test.masks[index[some]]),
    }
    found = {}
    for state, (features, masks) in inputs.items():
        for method in MASKS.methods:
            for score, values in _scored(back, features, masks, method).items():
                control = score not in mask_scores.SCORES
                found[f"{state} {'control' if control else method} {score}"] = values
    return found


def _scored(back: nn.Module, features: Tensor, masks: Tensor, method: str) -> dict[str, Tensor]:
    """`mask_scores.measure` of maps that the trained half alone makes: the frozen one is done."""
    classes = finetune.answer(back, features).argmax(1)
    maps = [
        torch.from_numpy(np.asarray(cams.activation_maps(back, part, label, method=method)))
        for part, label in zip(torch.split(features, 64), torch.split(classes, 64), strict=True)
    ]
    return mask_scores.measure(torch.cat(maps), masks)
