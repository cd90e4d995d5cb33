"""Which learning rate, and which smoothing: tried on folds that are not tested with the choice.

A try trains on three folds and answers a fourth. The choice for the network that answers a
fold rests on the tries that answered *other* folds, pooled: a single fold of a hundred objects
has picked rates at which another fold's network collapsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nls_core.data.folds import FOLDS
from nls_core.errors import Collapsed
from nls_core.families.recipe import Recipe
from nls_core.training import finetune
from nls_core.training.finetune import PreparedFolds
from nls_core.training.out_of_fold import (
    Progress,
    answers,
    collapsed,
    name_of,
    silent,
    validation,
)

Row = dict[str, Any]
Key = tuple[tuple[str, float], ...]  # settings, as a key
ROTATIONS = (0, 2)  # folds left out of a try, with the next one, which is answered
SETTINGS = ("lr", "smoothing", "weight")  # what a search may choose
WIDENINGS = 2  # how often rates go on beyond an edge that is best
STEP = 2.0  # by which factor
CRITERION = (
    "lowest NLL, pooled over folds that a network of three others answers; for the network that "
    "answers a fold, over tries that did not ask about it"
)


def validated(
    recipe: Recipe, prepared: PreparedFolds, fold: int, progress: Progress = silent
) -> Row:
    """Train without `fold` and the next one, and answer that next one.

    Returns:
        'fold', 'held', 'images', the figures of `validation`, and in 'collapsed' why the network
        is none, or "".
    """
    held = (fold + 1) % FOLDS
    others = set(range(FOLDS)) - {fold, held}
    name = f"{name_of(recipe)}: search"
    model = finetune.trained(recipe, prepared, others, lambda n: progress(name, n))
    which = prepared.test.folds == held
    logits, labels = answers(model, prepared, which)
    reason = collapsed(logits, labels, prepared.zero_shot[which])
    finite = bool(logits.isfinite().all())
    figures = validation(logits.softmax(1), labels) if finite else {}
    row: Row = {"fold": fold, "held": held, "images": len(labels), "collapsed": reason}
    return row | figures


def settings_of(row: Mapping[str, Any]) -> dict[str, float]:
    """What a row tried."""
    return {name: float(row[name]) for name in SETTINGS if name in row}


def chosen(rows: Sequence[Mapping[str, Any]], fold: int | None = None) -> dict[str, float]:
    """The settings of the lowest pooled NLL, without the tries that answered `fold`.

    Settings with which any try collapsed are out.

    Raises:
        Collapsed: all collapsed.
    """
    pooled: dict[Key, float] = {}
    keys: list[Key] = [tuple(settings_of(row).items()) for row in rows]
    for key in dict.fromkeys(keys):
        mine = [row for row, its in zip(rows, keys, strict=True) if its == key]
        others = [row for row in mine if row["held"] != fold]
        if others and not any(row["collapsed"] for row in mine):
            images = sum(row["images"] for row in others)
            pooled[key] = sum(row["val_nll"] * row["images"] for row in others) / images
    if not pooled:
        reasons = "; ".join(f"{settings_of(row)}: {row['collapsed']}" for row in rows)
        raise Collapsed(f"every try of the search collapsed: {reasons}")
    best = min(pooled, key=pooled.__getitem__)
    return dict(best)


def search(
    recipe: Recipe,
    prepared: PreparedFolds,
    rates: Sequence[float],
    options: Sequence[Mapping[str, float]] = (),
    *,
    rows: Sequence[Row] = (),
    keep: Callable[[list[Row]], None] = lambda rows: None,
    progress: Progress = silent,
) -> list[Row]:
    """Try rates, go on beyond an edge that is best, and try further options at the best rate.

    Args:
        recipe: what to train, but for its settings.
        prepared: of the recipe's padding.
        rates: the first ones, at least one.
        options: settings beside the rate, such as a smoothing.
        rows: of an earlier search that was stopped; they are not tried again.
        keep: called with all rows after each try.
        progress: called with what is done.
    """
    found = list(rows)

    def attempt(changes: dict[str, float]) -> None:
        for fold in ROTATIONS:
            if any(settings_of(r) == changes and r["fold"] == fold for r in found):
                continue
            row = validated(replace(recipe, **changes), prepared, fold, progress)  # type: ignore[arg-type]
            found.append(changes | row)
            keep(found)

    def plain() -> list[Row]:
        return [row for row in found if set(settings_of(row)) == {"lr"}]

    for rate in rates:
        attempt({"lr": float(rate)})
    for _ in range(WIDENINGS):
        tried, best = [row["lr"] for row in plain()], chosen(plain())["lr"]
        if min(tried) < best < max(tried):
            break
        attempt({"lr": best * STEP if best == max(tried) else best / STEP})
    for each in options:
        attempt({"lr": chosen(plain())["lr"]} | dict(each))
    return found
