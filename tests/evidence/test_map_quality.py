"""Map quality on models whose curves can be written by hand, and on the tiny net."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nls_core import nets
from nls_core.attacks.gradient import pgd_linf
from nls_core.cams import activation_maps, border_mass
from nls_core.errors import InvalidInput, UnknownName
from nls_core.evidence import map_quality
from nls_core.evidence.map_quality import (
    METRICS,
    confidence,
    confidence_curve,
    deletion_auc,
    drop_and_increase,
    explainer,
    insertion_auc,
    max_sensitivity,
    measure,
    randomized,
)
from nls_core.metrics.map_similarity import cosine, rank_correlation, to_pixels, top_overlap
from tests.conftest import make_model

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


@pytest.fixture
def adversarial(task: Task) -> Tensor:
    return pgd_linf(*task, epsilon=0.1, steps=3)


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


# --- sensitivity ---------------------------------------------------------------------------------


def itself(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The image as its own map."""
    return x[:, 0]


def test_sensitivity_by_hand() -> None:
    seen: list[Tensor] = []

    def explain(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        seen.append(x)
        return 3 * x[:, 0]

    x = torch.rand(4, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    x[0] = 0.0  # its perturbed copies are not
    x[1] = 0.5
    got = max_sensitivity(nn.Identity(), x, zeros(4), explain, radius=0.1, samples=7)
    assert len(seen) == 8
    assert torch.equal(seen[0], x)
    moved = torch.stack(seen[1:])  # (7, 4, 1, 5, 6)
    assert ((moved >= 0) & (moved <= 1)).all()
    delta = moved - x
    assert 0.09 < delta.amax() <= 0.1 + 1e-6
    assert 0.09 < -delta.amin() <= 0.1 + 1e-6
    assert len(delta[:, 1].flatten(1).unique(dim=0)) == 7
    ratios = delta.double().flatten(2).norm(dim=2) / x.double().flatten(1).norm(dim=1)
    assert math.isnan(got[0])
    assert got[1:].tolist() == pytest.approx(ratios.amax(0)[1:].tolist(), rel=1e-5)


def test_sensitivity_is_linear_for_a_linear_map_and_per_image() -> None:
    x = 0.3 + 0.4 * torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model, y = nn.Identity(), zeros(3)
    one = max_sensitivity(model, x, y, itself, radius=0.1)
    torch.testing.assert_close(max_sensitivity(model, x, y, itself, radius=0.2), 2 * one)
    assert torch.equal(max_sensitivity(model, x, y, itself, radius=0.1, maps=x[:, 0]), one)
    assert torch.equal(max_sensitivity(model, x[2:], y[2:], itself, radius=0.1), one[2:])
    assert (max_sensitivity(model, x, y, itself, radius=0.1, seed=1) != one).all()
    more = max_sensitivity(model, x, y, itself, radius=0.1, samples=40)
    assert (more >= one).all()
    assert (more > one).any()
    assert max_sensitivity(model, x, y, itself, radius=0.0).tolist() == [0, 0, 0]


def test_sensitivity_of_maps_that_stay_zero() -> None:
    def nothing(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return torch.zeros(len(x), 2, 2)

    x = torch.rand(2, 1, 4, 4)
    assert max_sensitivity(nn.Identity(), x, zeros(2), nothing).tolist() == [0, 0]


@pytest.mark.parametrize(
    "options", [{"radius": -0.1}, {"radius": 1.5}, {"samples": 0}, {"seed": -1}]
)
def test_sensitivity_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        max_sensitivity(nn.Identity(), torch.rand(1, 1, 4, 4), zeros(1), itself, **options)


# --- randomization -------------------------------------------------------------------------------


def test_randomized_draws_every_weight_anew() -> None:
    model = make_model(channels=3).requires_grad_(True).train()
    with torch.no_grad():
        model.net.stage1.bn1.weight.fill_(3)
        model.net.stage1.bn1.bias.fill_(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    copy = randomized(model, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert copy.training
    drawn = []
    for name, value in copy.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if value.ndim > 1:
            fan_in = value[0].numel()
            assert float(value.std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.35), name
            assert (value != before[name]).all(), name
            drawn.append(value.flatten() * fan_in**0.5)
        fresh = {"weight": 1.0, "running_var": 1.0}.get(name.rpartition(".")[2], 0.0)
        if value.ndim == 1:
            assert (value == fresh).all(), name
    assert float(torch.cat(drawn).std()) == pytest.approx(2**0.5, rel=0.02)
    same, other = randomized(model, seed=3), randomized(model, seed=4)
    x = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    for part in (copy, same, other):
        part.eval()
    assert torch.equal(copy(x), same(x))
    assert not torch.allclose(copy(x), other(x))


def test_the_cascade_begins_at_the_logits() -> None:
    model = make_model()
    changed = []
    for last in (1, 2, 3, None):
        copy = randomized(model, last=last).state_dict()
        old = model.state_dict()
        changed.append({name for name in old if not torch.equal(old[name], copy[name])})
    assert changed[0] == {"net.head.weight", "net.head.bias"}
    assert changed[0] < changed[1] < changed[2] < changed[3]
    assert all(name.startswith(("net.head", "net.stage3")) for name in changed[2])
    assert {name for name, _ in model.named_parameters() if "conv" in name} < changed[3]


def test_statistics_without_weights_start_afresh() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2, affine=False))
    model[0].running_mean.fill_(5)
    assert randomized(model)[0].running_mean.tolist() == [0, 0]
    assert model[0].running_mean.tolist() == [5, 5]


@pytest.mark.parametrize("options", [{"seed": -1}, {"last": 0}])
def test_randomized_refuses(options: dict[str, int], tiny_model: nets.Classifier) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        randomized(tiny_model, **options)


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("cam", "layer"), [("gradcam", None), ("layercam", "net.stage2")])
def test_measure_is_its_parts(
    cam: str,
    layer: str | None,
    task: Task,
    adversarial: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(map_quality, "_BATCH", 4)
    done: list[int] = []
    state = torch.random.get_rng_state()
    model, images, labels = task
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    got = measure(*task, adversarial, cam=cam, layer=layer, seed=5, progress=done.append)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert done == [4, 2]
    explain = explainer(cam, layer)
    maps, moved = explain(*task), explain(model, adversarial, labels)
    expected = activation_maps(*task, method=cam, layer=layer)
    assert maps.numpy() == pytest.approx(expected)
    drop, increase = drop_and_increase(*task, maps)
    wanted = {
        "insertion_auc": insertion_auc(*task, maps),
        "deletion_auc": deletion_auc(*task, maps),
        "average_drop": drop,
        "increase": increase.double(),
        "max_sensitivity": max_sensitivity(*task, explain, seed=5),
        "drift_cosine": cosine(maps, moved),
        "drift_iou": top_overlap(to_pixels(maps, 28, 28), to_pixels(moved, 28, 28)),
        "randomization_similarity": rank_correlation(
            maps, explain(randomized(model, 5), images, labels)
        ),
        "border_mass": torch.tensor([border_mass(m) for m in expected], dtype=torch.float64),
    }
    assert list(got) == list(METRICS) == list(wanted)
    for name, value in wanted.items():
        assert got[name].dtype == torch.float64
        assert got[name].shape == (6,)
        # the batches' convolutions differ by rounding
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-4, msg=name)
        assert name == "increase" or len(value.unique()) > 1


def test_an_image_that_was_not_attacked_does_not_drift(task: Task, adversarial: Tensor) -> None:
    same = measure(*task, task[1])
    assert same["drift_cosine"].tolist() == pytest.approx([1.0] * 6)
    assert same["drift_iou"].tolist() == [1.0] * 6
    attacked = measure(*task, adversarial)
    assert (attacked["drift_cosine"] < 1).all()
    assert attacked["drift_iou"].mean() < 1


def test_large_images_go_in_smaller_batches(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = task
    done: list[int] = []
    for values in (2 * 28 * 28, 5):
        monkeypatch.setattr(map_quality, "_VALUES", values)
        measure(model, x[:3], y[:3], x[:3], progress=done.append)
    assert done == [2, 1, 1, 1, 1]


def test_the_registry_says_which_way_is_good() -> None:
    assert {metric.better for metric in METRICS.values()} == {"higher", "lower"}
    assert METRICS["insertion_auc"].better == "higher"
    assert METRICS["deletion_auc"].better == "lower"
    assert all(metric.meaning for metric in METRICS.values())


def test_what_measure_refuses(task: Task) -> None:
    model, x, y = task
    for bad in ((x, y[:2], x), (x, y, x[:2]), (x[0], y, x[0]), (x[:0], y[:0], x[:0])):
        with pytest.raises(InvalidInput, match="expected x"):
            measure(model, *bad)
    with pytest.raises(InvalidInput, match="adversarial"):
        measure(*task, x[..., :14])
    with pytest.raises(UnknownName, match="'cam'"):
        measure(*task, x, cam="cam")


def test_what_the_parts_refuse(task: Task) -> None:
    good = torch.ones(6, 7, 7)
    for part in (insertion_auc, deletion_auc, drop_and_increase):
        for maps in (good[:5], -good, good * torch.nan, good[0]):
            with pytest.raises(InvalidInput, match="maps"):
                part(*task, maps)
    with pytest.raises(InvalidInput, match="steps"):
        insertion_auc(*task, good, steps=0)
