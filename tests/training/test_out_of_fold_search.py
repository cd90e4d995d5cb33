"""The search of the protocol out_of_fold: who is asked, what is chosen, and when rates go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from nls_core.errors import Collapsed
from nls_core.families import FAMILIES
from nls_core.families.recipe import Recipe
from nls_core.training import finetune, out_of_fold_search
from nls_core.training.out_of_fold_search import Row, chosen, search

RECIPE = FAMILIES["photos"].recipe


def row(lr: float, held: int, nll: float, **more: Any) -> Row:
    return (
        {"lr": lr, "fold": held - 1, "held": held, "images": 10, "collapsed": ""}
        | {"val_nll": nll}
        | more
    )


def test_a_fold_is_no_witness_of_its_own_choice() -> None:
    rows = [row(0.1, 1, 0.5), row(0.1, 3, 1.0), row(0.2, 1, 1.0), row(0.2, 3, 0.6)]
    assert chosen(rows, 1) == {"lr": 0.2}
    assert chosen(rows, 3) == {"lr": 0.1}
    assert chosen(rows) == chosen(rows, 0) == {"lr": 0.1}  # 0.75 against 0.8


def test_the_pooled_nll_weighs_folds_by_their_images() -> None:
    rows = [row(0.1, 1, 0.5, images=1), row(0.1, 3, 1.0), row(0.2, 1, 0.9), row(0.2, 3, 0.9)]
    assert chosen(rows) == {"lr": 0.2}  # 0.9 against 10.5 / 11


def test_settings_that_collapsed_once_are_out() -> None:
    rows = [
        row(0.1, 1, 0.1),
        row(0.1, 3, 0.1, collapsed="one name"),
        row(0.2, 1, 1),
        row(0.2, 3, 1),
    ]
    assert chosen(rows) == chosen(rows, 3) == {"lr": 0.2}
    with pytest.raises(Collapsed, match=r"every try of the search collapsed: .*one name"):
        chosen(rows[:2])


def tried(
    monkeypatch: pytest.MonkeyPatch, best: float, rows: list[Row] | None = None, **more: Any
) -> list[Row]:
    """A search whose NLL is lowest at a rate, and lower the less smoothing there is."""

    def validated(recipe: Recipe, prepared: object, fold: int, report: object) -> Row:
        nll = abs(recipe.lr - best) + recipe.smoothing
        return {"fold": fold, "held": fold + 1, "images": 1, "collapsed": "", "val_nll": nll}

    monkeypatch.setattr(out_of_fold_search, "validated", validated)
    return search(RECIPE, None, (1.0, 2.0, 4.0), rows=rows or (), **more)  # type: ignore[arg-type]


def rates(rows: list[Row]) -> list[float]:
    return list(dict.fromkeys(each["lr"] for each in rows))


def test_rates_go_on_beyond_an_edge_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rates(tried(monkeypatch, 2.0)) == [1, 2, 4]
    assert rates(tried(monkeypatch, 7.0)) == [1, 2, 4, 8, 16]
    assert rates(tried(monkeypatch, 0.5)) == [1, 2, 4, 0.5, 0.25]
    assert rates(tried(monkeypatch, 99.0)) == [1, 2, 4, 8, 16]


def test_options_are_tried_at_the_best_rate_and_nothing_is_tried_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[int] = []
    options = ({"smoothing": 0.5}, {"smoothing": 0.01})
    rows = tried(monkeypatch, 2.0, options=options, keep=lambda found: kept.append(len(found)))
    assert chosen(rows) == {"lr": 2.0, "smoothing": 0.01}
    assert kept == list(range(1, 11))
    again: list[int] = []
    assert tried(monkeypatch, 2.0, rows, options=options, keep=lambda f: again.append(1)) == rows
    assert not again


def test_a_try_trains_on_three_folds_and_asks_a_fourth(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[set[int]] = []
    asked: list[torch.Tensor] = []
    folds = torch.arange(20) % 5

    prepared = SimpleNamespace(test=SimpleNamespace(folds=folds), zero_shot=torch.zeros(20, 2))

    def train(recipe: Recipe, prepared: object, others: set[int], report: object) -> str:
        trained.append(others)
        return "network"

    def answers(model: object, prepared: object, which: torch.Tensor) -> Any:
        asked.append(folds[which].unique())
        labels = torch.arange(int(which.sum())) % 2
        return torch.nn.functional.one_hot(labels, 2).float(), labels

    monkeypatch.setattr(finetune, "trained", train)
    monkeypatch.setattr(out_of_fold_search, "answers", answers)
    found = out_of_fold_search.validated(RECIPE, cast("Any", prepared), 4)
    assert trained == [{1, 2, 3}]
    assert asked[0].tolist() == [found["held"]] == [0]
    assert found["val_accuracy"] == 1
    assert found["collapsed"] == ""
