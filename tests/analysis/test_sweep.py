"""The sweep: one look serves prediction and first step, and attacks are as they are alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nls_core import cams
from nls_core.analysis import sweep
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.nets import Classifier

EPSILONS = (1 / 255, 4 / 255, 16 / 255)
VIEW = sweep.View("net.stage3", 1.0)


def picture(seed: int = 5) -> torch.Tensor:
    return torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def asked(**changes: Any) -> AnalysisRequest:
    return replace(AnalysisRequest(("a",), epsilons=EPSILONS, steps=3), **changes)


@pytest.mark.parametrize("target", [None, 4])
def test_a_look_is_the_prediction_its_map_and_the_gradient(
    tiny_model: Classifier, target: int | None
) -> None:
    x = picture(3)
    request = asked(attack_target=target, target_class=target)
    seen = sweep.look(tiny_model, x, request, sweep.View("net.stage2", 2.0))
    np.testing.assert_allclose(seen.prediction.logits, tiny_model(x)[0], rtol=1e-5, atol=1e-6)
    calibrated = (tiny_model(x)[0] / 2).softmax(0)
    np.testing.assert_allclose(seen.prediction.calibrated, calibrated, rtol=1e-4)
    z = x.clone().requires_grad_()
    index = seen.prediction.index if target is None else target
    (wanted,) = torch.autograd.grad(F.cross_entropy(tiny_model(z), torch.tensor([index])), z)
    assert seen.gradient is not None
    torch.testing.assert_close(seen.gradient, wanted)
    assert seen.target == index
    (alone,) = cams.activation_maps(tiny_model, x, index, layer="net.stage2")
    np.testing.assert_allclose(seen.values, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at_random", [False, True])
@pytest.mark.parametrize("target", [None, 2])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_swept_attack_is_the_attack_alone(
    tiny_model: Classifier, name: str, target: int | None, at_random: bool
) -> None:
    x = picture()
    request = asked(attack=name, attack_target=target, random_start=at_random)
    seen = sweep.look(tiny_model, x, request, VIEW)
    got = sweep.attack(tiny_model, x, request, seen, lambda done: None).images
    label = seen.prediction.index if target is None else target
    alone = ATTACKS[name](
        tiny_model,
        x.expand(3, -1, -1, -1).contiguous(),
        torch.full((3,), label),
        epsilon=torch.tensor(EPSILONS),
        steps=3,
        targeted=target is not None,
        random_start=at_random,
        one_start=True,
    )
    # the sign of a gradient near 0 may differ between a batch of one and of three
    assert ((got - alone).abs() < 1e-6).float().mean() > 0.999
    assert not torch.equal(got[2], x[0])


@pytest.mark.parametrize("cam", CAMS)
def test_one_forward_gives_what_separate_ones_give(tiny_model: Classifier, cam: str) -> None:
    swept = torch.cat([picture(seed) for seed in range(4)])
    seen = sweep.watch(tiny_model, swept, asked(cam=cam), 3, VIEW)
    probabilities = np.stack([prediction.probabilities for prediction, _ in seen])
    np.testing.assert_allclose(probabilities, tiny_model(swept).softmax(1), rtol=0, atol=1e-6)
    alone = cams.activation_maps(tiny_model, swept, 3, method=cam, layer=VIEW.layer)
    np.testing.assert_allclose(np.stack([m.values for _, m in seen]), alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "forwards"), [("fgsm", 0), ("pgd-linf", 2), ("pgd-l2", 2)])
def test_an_analysis_computes_nothing_twice(
    tiny_model: Classifier, name: str, forwards: int
) -> None:
    """One forward of the picture, one of each further step, one of all that was attacked."""
    x, request = picture(), asked(attack=name, random_start=False)
    batches: list[int] = []
    tiny_model.register_forward_hook(lambda _module, inputs, _out: batches.append(len(inputs[0])))
    seen = sweep.look(tiny_model, x, request, VIEW)
    swept = sweep.attack(tiny_model, x, request, seen, lambda done: None).images
    sweep.watch(tiny_model, swept, request, seen.target, VIEW)
    assert batches == [1, *([3] * forwards), 3]


@pytest.mark.parametrize("at_random", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_steps_lead_from_the_start_to_what_is_said_last(
    tiny_model: Classifier, name: str, at_random: bool
) -> None:
    x, request = picture(), asked(attack=name, random_start=at_random)
    seen = sweep.look(tiny_model, x, request, VIEW)
    swept = sweep.attack(tiny_model, x, request, seen, lambda done: None)
    last = sweep.watch(tiny_model, swept.images, request, seen.target, VIEW)
    for point in sweep.points(x, swept, request, seen.prediction, last):
        assert (point.steps is not None) == ATTACKS[name].traced
        if point.steps is None:
            continue
        assert point.steps.shape == (request.steps + 1, 10)
        np.testing.assert_allclose(point.steps.sum(1), 1, rtol=1e-5)
        np.testing.assert_array_equal(point.steps[-1], point.prediction.probabilities)
        if not at_random:
            clean = seen.prediction.probabilities
            np.testing.assert_allclose(point.steps[0], clean, rtol=1e-5)
            assert point.steps[-1, clean.argmax()] < clean.max()


def test_no_gradient_where_the_attack_has_no_use_for_it(tiny_model: Classifier) -> None:
    assert sweep.look(tiny_model, picture(), asked(attack="gaussian"), VIEW).gradient is None


def test_strengths_start_in_one_direction_as_each_alone(tiny_model: Classifier) -> None:
    x, request = picture(), asked(steps=4, seed=3)
    seen = sweep.look(tiny_model, x, request, VIEW)
    together = sweep.attack(tiny_model, x, request, seen, lambda done: None).images
    for one, epsilon in zip(together, EPSILONS, strict=True):
        alone = ATTACKS["pgd-linf"](
            tiny_model,
            x,
            torch.tensor([seen.prediction.index]),
            epsilon=epsilon,
            steps=4,
            seed=3,
            random_start=True,
        )
        assert ((one - alone[0]).abs() < 1e-6).float().mean() > 0.99
