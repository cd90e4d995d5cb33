"""The sweep: one look serves prediction and first step, and attacks are as they are alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nls_core.analysis import sweep
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.nets import Classifier

EPSILONS = (1 / 255, 4 / 255, 16 / 255)


def test_a_look_is_the_prediction_and_the_gradient(tiny_model: Classifier) -> None:
    x = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    for target in (None, 4):
        seen, gradient = sweep.look(tiny_model, x, target, temperature=2.0)
        np.testing.assert_allclose(seen.logits, tiny_model(x)[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(seen.calibrated, (tiny_model(x)[0] / 2).softmax(0), rtol=1e-4)
        z = x.clone().requires_grad_()
        label = torch.tensor([seen.index if target is None else target])
        (wanted,) = torch.autograd.grad(F.cross_entropy(tiny_model(z), label), z)
        torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("at_random", [False, True])
@pytest.mark.parametrize("target", [None, 2])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_swept_attack_is_the_attack_alone(
    tiny_model: Classifier, name: str, target: int | None, at_random: bool
) -> None:
    x = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    request = AnalysisRequest(
        ("a",),
        attack=name,
        epsilons=EPSILONS,
        attack_target=target,
        steps=3,
        random_start=at_random,
    )
    seen = sweep.look(tiny_model, x, target, 1.0)
    got = sweep.attack(tiny_model, x, request, seen, lambda done: None)
    label = seen[0].index if target is None else target
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
    assert ((got - alone).abs() < 1e-6).float().mean() > 0.99
    assert not torch.equal(got[2], x[0])


def test_strengths_start_in_one_direction_as_each_alone(tiny_model: Classifier) -> None:
    x = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    request = AnalysisRequest(("a",), epsilons=EPSILONS, steps=4, seed=3)
    seen = sweep.look(tiny_model, x, None, 1.0)
    together = sweep.attack(tiny_model, x, request, seen, lambda done: None)
    for one, epsilon in zip(together, EPSILONS, strict=True):
        alone = ATTACKS["pgd-linf"](
            tiny_model, x, torch.tensor([seen[0].index]), epsilon=epsilon, steps=4, seed=3,
            random_start=True,
        )  # fmt: skip
        assert ((one - alone[0]).abs() < 1e-6).float().mean() > 0.99


def test_a_known_gradient_saves_the_first_pass(tiny_model: Classifier) -> None:
    x = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    seen = sweep.look(tiny_model, x, None, 1.0)
    passes: list[int] = []
    tiny_model.register_forward_hook(lambda *_: passes.append(1))
    for name, wanted in (("fgsm", 0), ("pgd-linf", 2), ("pgd-l2", 2)):
        assert ATTACKS[name].takes_gradient
        passes.clear()
        request = AnalysisRequest(
            ("a",), attack=name, epsilons=EPSILONS, steps=3, random_start=False
        )
        sweep.attack(tiny_model, x, request, seen, lambda done: None)
        assert len(passes) == wanted
