"""Stability of maps, the randomized model, and all measures together."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nls_core import nets
from nls_core.attacks.gradient import pgd_linf
from nls_core.cams import activation_maps, border_mass
from nls_core.errors import InvalidInput, UnknownName
from nls_core.evidence import map_quality
from nls_core.evidence.map_faithfulness import (
    deletion_auc,
    drop_and_increase,
    insertion_auc,
)
from nls_core.evidence.map_quality import (
    ALL,
    METRICS,
    explainer,
    max_sensitivity,
    measure,
    random_maps,
    randomized,
)
from nls_core.evidence.map_road import road
from nls_core.metrics.map_similarity import (
    correlation,
    cosine,
    entropy,
    rank_correlation,
    to_pixels,
    top_overlap,
)
from tests.conftest import make_model

Task = tuple[nets.Classifier, Tensor, Tensor]


def zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)


@pytest.fixture
def task(tiny_model: nets.Classifier, tiny_images: Tensor) -> Task:
    """A model, images, and the model's predictions as the classes to explain."""
    return tiny_model, tiny_images, tiny_model(tiny_images).argmax(1)


@pytest.fixture
def adversarial(task: Task) -> Tensor:
    return pgd_linf(*task, epsilon=0.1, steps=3)


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
    got, net = max_sensitivity(nn.Identity(), x, zeros(4), explain, radius=0.1, samples=7)
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
    rest = (x - x.mean((2, 3), keepdim=True)).double().flatten(1).norm(dim=1)
    moved = delta - delta.mean((3, 4), keepdim=True)
    ratios = moved.double().flatten(2).norm(dim=2) / rest
    assert net[2:].tolist() == pytest.approx(ratios.amax(0)[2:].tolist(), rel=1e-5)
    assert math.isnan(net[1])  # a uniform map has nothing that could change in proportion


def sensitivity(*task: Any, **options: Any) -> Tensor:
    """That of the maps as they are."""
    return max_sensitivity(*task, **options)[0]


def test_sensitivity_is_linear_for_a_linear_map_and_per_image() -> None:
    x = 0.3 + 0.4 * torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model, y = nn.Identity(), zeros(3)
    one = sensitivity(model, x, y, itself, radius=0.1)
    torch.testing.assert_close(sensitivity(model, x, y, itself, radius=0.2), 2 * one)
    assert torch.equal(sensitivity(model, x, y, itself, radius=0.1, maps=x[:, 0]), one)
    assert torch.equal(sensitivity(model, x[2:], y[2:], itself, radius=0.1), one[2:])
    assert (sensitivity(model, x, y, itself, radius=0.1, seed=1) != one).all()
    more = sensitivity(model, x, y, itself, radius=0.1, samples=40)
    assert (more >= one).all()
    assert (more > one).any()
    assert sensitivity(model, x, y, itself, radius=0.0).tolist() == [0, 0, 0]


def test_sensitivity_of_maps_that_stay_zero() -> None:
    def nothing(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return torch.zeros(len(x), 2, 2)

    x = torch.rand(2, 1, 4, 4)
    assert [each.tolist() for each in max_sensitivity(nn.Identity(), x, zeros(2), nothing)] == [
        [0, 0],
        [0, 0],
    ]


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
    sensitivity, sensitivity_net = max_sensitivity(*task, explain, seed=5)
    wanted = {
        "insertion_auc": insertion_auc(*task, maps),
        "deletion_auc": deletion_auc(*task, maps),
        "road": road(*task, maps, seed=5),
        "average_drop": drop,
        "increase": increase.double(),
        "max_sensitivity": sensitivity,
        "max_sensitivity_net": sensitivity_net,
        "drift_cosine": cosine(maps, moved),
        "drift_correlation": correlation(maps, moved),
        "drift_iou": top_overlap(to_pixels(maps, 28, 28), to_pixels(moved, 28, 28)),
        "cross_cosine": cosine(maps, maps[[1, 2, 3, 4, 5, 0]]),
        "cross_correlation": correlation(maps, maps[[1, 2, 3, 4, 5, 0]]),
        "entropy": entropy(maps),
        "randomization_similarity": rank_correlation(
            maps, explain(randomized(model, 5), images, labels)
        ),
        "border_mass": torch.tensor([border_mass(m) for m in expected], dtype=torch.float64),
    }
    assert list(METRICS) == list(wanted)
    noise = random_maps(6, maps, 5)
    for name, measured in (
        ("insertion_auc", insertion_auc(*task, noise)),
        ("deletion_auc", deletion_auc(*task, noise)),
        ("road", road(*task, noise, seed=5)),
    ):
        wanted |= {f"{name}_random": measured, f"{name}_net": wanted[name] - measured}
    assert list(got) == list(ALL) == list(wanted)
    for name, value in wanted.items():
        assert got[name].dtype == torch.float64
        assert got[name].shape == (6,)
        # the batches' convolutions differ by rounding
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-4, msg=name)
        assert name == "increase" or len(value.unique()) > 1


def test_an_image_that_was_not_attacked_does_not_drift(task: Task, adversarial: Tensor) -> None:
    same = measure(*task, task[1])
    assert same["drift_cosine"].tolist() == pytest.approx([1.0] * 6)
    assert same["drift_correlation"].tolist() == pytest.approx([1.0] * 6)
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
