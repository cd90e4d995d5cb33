"""Insertion, deletion and drop: curves written by hand, and the tiny net."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nls_core import nets
from nls_core.errors import InvalidInput
from nls_core.evidence.map_faithfulness import (
    confidence,
    confidence_curve,
    deletion_auc,
    drop_and_increase,
    insertion_auc,
)

BLACK = torch.zeros(1, 1, 1, 1)
Task = tuple[nets.Classifier, Tensor, Tensor]


class Weighted(nn.Module):
    """Logits (Σ w·x, 0): the confidence in class 0 is the sigmoid of the first."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)  # (H, W) or (C, H, W)

    def forward(self, x: Tensor) -> Tensor:
        score = (self.weight * x).sum((1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], 1)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)


@pytest.fixture
def task(tiny_model: nets.Classifier, tiny_images: Tensor) -> Task:
    """A model, images, and the model's predictions as the classes to explain."""
    return tiny_model, tiny_images, tiny_model(tiny_images).argmax(1)


# --- insertion and deletion ----------------------------------------------------------------------


def test_confidence_by_hand() -> None:
    model = Weighted(torch.tensor([[2.0, -1.0]]))
    x = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 1.0]]]])
    got = confidence(model, x, torch.tensor([0, 1]))
    assert got.tolist() == pytest.approx([sigmoid(2), 1 - sigmoid(1)])
    assert got.dtype == torch.float64
    assert not got.requires_grad


def test_confidence_is_that_of_eval_mode(task: Task) -> None:
    model = task[0]
    expected = confidence(*task)
    model.train()
    statistics = model.net.stem[1].running_mean.clone()
    assert torch.equal(confidence(*task), expected)
    assert model.training
    assert torch.equal(model.net.stem[1].running_mean, statistics)


@pytest.mark.parametrize("place", range(4))
def test_one_pixel_that_decides(place: int) -> None:
    """The curves step at the place that the map gives to the one pixel that counts."""
    weight = torch.zeros(2, 2)
    weight[1, 0] = 3.0
    salience = torch.tensor([[4.0, 3.0], [0.0, 1.0]])
    salience[1, 0] = (5.0, 3.5, 2.0, 0.5)[place]
    arguments = (Weighted(weight), torch.ones(1, 1, 2, 2), zeros(1), salience[None])
    low, high = 0.5, sigmoid(3)
    inserted = [low] * (place + 1) + [high] * (4 - place)
    shares, values = confidence_curve(*arguments, insert=True, steps=4, baseline=BLACK)
    assert shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert values[0].tolist() == pytest.approx(inserted)
    _, values = confidence_curve(*arguments, insert=False, steps=4, baseline=BLACK)
    assert values[0].tolist() == pytest.approx([low + high - value for value in inserted])
    area = (low * (place + 0.5) + high * (3.5 - place)) / 4  # the trapezoid of the step has both
    options: dict[str, Any] = {"steps": 4, "baseline": BLACK}
    assert insertion_auc(*arguments, **options).tolist() == pytest.approx([area])
    assert deletion_auc(*arguments, **options).tolist() == pytest.approx([low + high - area])


def test_a_linear_model_by_hand() -> None:
    model = Weighted(torch.tensor([[1.0, -2.0, 0.5, 4.0]]))
    x = torch.tensor([[[[1.0, 0.5, 1.0, 0.25]]]])  # contributions 1, -1, 0.5, 1
    maps = torch.tensor([[[0.1, 0.4, 0.3, 0.2]]])  # order 1, 2, 3, 0
    shares, values = confidence_curve(
        model, x, zeros(1), maps, insert=True, steps=4, baseline=BLACK
    )
    expected = [sigmoid(score) for score in (0, -1, -0.5, 0.5, 1.5)]
    assert values[0].tolist() == pytest.approx(expected)
    area = (sum(expected) - (expected[0] + expected[-1]) / 2) / 4
    got = insertion_auc(model, x, zeros(1), maps, steps=4, baseline=BLACK)
    assert got.tolist() == pytest.approx([area])
    # 4 pixels in 3 steps: 0, 1, 2 and 4 of them
    shares, values = confidence_curve(
        model, x, zeros(1), maps, insert=True, steps=3, baseline=BLACK
    )
    assert shares.tolist() == [0, 0.25, 0.5, 1]
    assert values[0].tolist() == pytest.approx([expected[i] for i in (0, 1, 2, 4)])
    got = insertion_auc(model, x, zeros(1), maps, steps=3, baseline=BLACK)
    a, b, c, _, e = expected
    assert got.tolist() == pytest.approx([(a + b) / 8 + (b + c) / 8 + (c + e) / 4])


def test_equally_salient_pixels_go_in_reading_order() -> None:
    weight = torch.tensor([[8.0, 4.0], [2.0, 1.0]])
    x, maps = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1)
    _, values = confidence_curve(
        Weighted(weight), x, zeros(1), maps, insert=True, steps=4, baseline=BLACK
    )
    assert values[0].logit().tolist() == pytest.approx([0, 8, 12, 14, 15])


def test_a_pixel_goes_with_all_its_channels() -> None:
    model = Weighted(torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1))
    _, values = confidence_curve(
        model,
        torch.ones(1, 3, 1, 2),
        zeros(1),
        torch.tensor([[[0.0, 1.0]]]),
        insert=False,
        steps=2,
        baseline=BLACK,
    )
    assert values[0].logit().tolist() == pytest.approx([14, 7, 0], abs=1e-6)


def test_the_baseline_is_the_models_mean_or_the_images_own() -> None:
    net = Weighted(torch.tensor([1.0, 2.0]).view(2, 1, 1))
    x = torch.tensor([[[[0.0, 0.5]], [[1.0, 0.25]]]])
    maps = torch.ones(1, 1, 1)
    own = 2 * (1.0 * 0.25 + 2.0 * 0.625)
    for insert, end in ((True, 0), (False, -1)):
        _, values = confidence_curve(net, x, zeros(1), maps, insert=insert)
        assert values[0, end].logit().item() == pytest.approx(own)
        classifier = nets.Classifier(net, [0.3, 0.6], [0.5, 0.25])
        _, values = confidence_curve(classifier, x, zeros(1), maps, insert=insert)
        assert values[0, end].item() == pytest.approx(0.5)  # the net sees 0 everywhere
        assert values.shape == (1, 29)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([2.0**-30, 0.25, 2.0**20]))
def test_properties_of_the_areas(seed: int, steps: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(3, 1, 3, 4, generator=generator)
    ranks = torch.stack([torch.randperm(12, generator=generator) for _ in x])
    maps = ranks.view(3, 3, 4).float()
    options = {"steps": steps, "baseline": torch.rand(1, generator=generator)}
    signed = Weighted(torch.randn(3, 4, generator=generator))
    inserted = insertion_auc(signed, x, zeros(3), maps, **options)
    deleted = deletion_auc(signed, x, zeros(3), maps, **options)
    for area, function in ((inserted, insertion_auc), (deleted, deletion_auc)):
        assert area.shape == (3,)
        assert ((area > 0) & (area < 1)).all()
        assert torch.equal(area, function(signed, x, zeros(3), maps * scale, **options))
    if 12 % steps == 0:  # what one order leaves, the other has taken
        mirrored = deletion_auc(signed, x, zeros(3), 11 - maps, **options)
        torch.testing.assert_close(inserted, mirrored)
    # the best map of a linear model is its own contributions
    contributions = (signed.weight * (x - options["baseline"]))[:, 0].detach()
    best = contributions - contributions.amin((1, 2), keepdim=True)
    worst = best.amax((1, 2), keepdim=True) - best
    for other in (maps, worst):
        gain = insertion_auc(signed, x, zeros(3), best, **options) - insertion_auc(
            signed, x, zeros(3), other, **options
        )
        loss = deletion_auc(signed, x, zeros(3), best, **options) - deletion_auc(
            signed, x, zeros(3), other, **options
        )
        assert (gain >= -1e-6).all()
        assert (loss <= 1e-6).all()


# --- drop and increase ---------------------------------------------------------------------------


def test_drop_and_increase_by_hand() -> None:
    model = Weighted(torch.tensor([[2.0, -1.0], [1.0, 0.0]]))
    x = torch.ones(4, 1, 2, 2)
    maps = torch.tensor(
        [
            [[1.0, 1.0], [1.0, 1.0]],  # all is kept
            [[0.0, 4.0], [2.0, 0.0]],  # -1 + 1/2 is left of 2
            [[6.0, 0.0], [3.0, 0.0]],  # 2 + 1/2
            [[0.0, 0.0], [0.0, 0.0]],  # nothing
        ]
    )
    drop, increase = drop_and_increase(model, x, zeros(4), maps)
    p = sigmoid(2)
    expected = [0, (p - sigmoid(-0.5)) / p, 0, (p - 0.5) / p]
    assert drop.tolist() == pytest.approx(expected)
    assert increase.tolist() == [False, False, True, False]
    again, _ = drop_and_increase(model, x, zeros(4), maps * 2.0**-40)
    assert torch.equal(again, drop)


def test_no_confidence_is_no_drop() -> None:
    model = Weighted(torch.full((1, 2), -2000.0))
    maps = torch.ones(1, 1, 2)
    drop, increase = drop_and_increase(model, torch.ones(1, 1, 1, 2), zeros(1), maps)
    assert drop.tolist() == [0.0]
    assert increase.tolist() == [False]


def test_what_the_parts_refuse(task: Task) -> None:
    good = torch.ones(6, 7, 7)
    for part in (insertion_auc, deletion_auc, drop_and_increase):
        for maps in (good[:5], -good, good * torch.nan, good[0]):
            with pytest.raises(InvalidInput, match="maps"):
                part(*task, maps)
    with pytest.raises(InvalidInput, match="steps"):
        insertion_auc(*task, good, steps=0)
