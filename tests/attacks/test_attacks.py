"""What every attack promises: ball and range, seeds, and the model as it was."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from nls_core.attacks import ATTACKS, gradient, objectives, square_search, threat
from nls_core.attacks.objectives import LOSS
from nls_core.attacks.threat import DEFAULT_EPSILONS
from tests.conftest import make_model
from tests.helpers.attacks import (
    EVERY,
    GRADIENT,
    MODEL,
    MODEL3,
    NEAREST,
    NORMS,
    PGD,
    SEARCHING,
    SHARED,
    Counting,
    Linear,
    images,
    mean_loss,
    norms,
    options,
    predictions,
    small,
)


def test_names_and_norms() -> None:
    assert set(EVERY) == {
        "fgsm", "pgd-linf", "pgd-l2", "apgd-ce", "apgd-t", "apgd-dlr", "fab-t", "square",
        "autoattack", "gaussian", "salt-pepper",
    }  # fmt: skip
    assert {name for name, norm in NORMS.items() if norm == "l2"} == {"pgd-l2"}
    assert {name for name, norm in NORMS.items() if norm == "linf"} == {*EVERY} - {"pgd-l2"}
    assert set(DEFAULT_EPSILONS) == set(NORMS.values())
    assert DEFAULT_EPSILONS["linf"] == (1 / 255, 2 / 255, 4 / 255, 8 / 255)
    assert DEFAULT_EPSILONS["l2"] == (0.25, 0.5, 1.0, 2.0)


@pytest.mark.parametrize("name", EVERY)
def test_every_attack_is_documented_and_takes_only_keywords(name: str) -> None:
    parameters = inspect.signature(ATTACKS[name].run).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["model", "x", "y"]
    assert inspect.getdoc(ATTACKS[name].run)
    assert ATTACKS[name].meaning.endswith(".")


@pytest.mark.parametrize("name", EVERY)
def test_shared_options_fit_every_attack_and_others_none(name: str) -> None:
    x = images(1)
    y = predictions(MODEL, x)
    more = {"queries": 3} if name == "square" else {}
    assert ATTACKS[name](MODEL, x, y, epsilon=0.1, **SHARED, **more).shape == x.shape
    with pytest.raises(TypeError, match="stepz"):
        ATTACKS[name](MODEL, x, y, epsilon=0.1, stepz=3)
    foreign = "amount" if name != "salt-pepper" else "queries"
    with pytest.raises(TypeError, match=foreign):
        ATTACKS[name](MODEL, x, y, epsilon=0.1, **{foreign: 1})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EVERY)
@small
@given(data=st.data())
def test_result_lies_in_the_ball_and_in_the_range(name: str, channels: int, data: Any) -> None:
    model = MODEL if channels == 1 else MODEL3
    cap = 1.0 if NORMS[name] == "linf" else 6.0
    epsilon = torch.tensor(data.draw(st.lists(st.floats(0, cap, width=32), min_size=2, max_size=2)))
    x = images(2, channels, seed=data.draw(st.integers(0, 50)))
    y = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=2, max_size=2)))
    common = {
        key: data.draw(strategy)
        for key, strategy in {
            "targeted": st.booleans(),
            "random_start": st.booleans(),
            "restarts": st.integers(1, 2),
            "seed": st.integers(0, 2**63 - 1),
        }.items()
    }
    before = x.clone()
    out = ATTACKS[name](model, x, y, epsilon=epsilon, **options(name, **common))
    assert out.shape == x.shape
    assert (out.dtype, out.device, out.requires_grad) == (x.dtype, x.device, False)
    assert out.data_ptr() != x.data_ptr()
    assert torch.equal(x, before)
    assert 0 <= float(out.min()) <= float(out.max()) <= 1  # NaN fails
    measured = norms(x, out)[0 if NORMS[name] == "linf" else 1]
    assert (measured <= epsilon.double().numpy() + 1e-6).all()


def test_a_model_that_writes_to_its_input_does_not_reach_x() -> None:
    class Writing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return MODEL(x.mul_(0.5))

    x = images()
    before = x.clone()
    ATTACKS["square"](Writing(), x, torch.tensor([1, 2, 3]), epsilon=0.1, queries=3)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", EVERY)
def test_epsilon_0_gives_exactly_x(name: str) -> None:
    x, y = images(), torch.tensor([1, 2, 3])
    for targeted in (False, True):
        more = options(name, targeted=targeted, random_start=True, restarts=2)
        out = ATTACKS[name](MODEL, x, y, epsilon=0, **more)
        assert torch.equal(out, x)
        assert out.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("name", [name for name in EVERY if name not in NEAREST])
def test_the_whole_budget_is_used(name: str) -> None:
    x = torch.full((3, 1, 28, 28), 0.5)
    y = predictions(MODEL, x)
    out = ATTACKS[name](MODEL, x, y, epsilon=0.004, **options(name, steps=10))
    measured = norms(x, out)[0 if NORMS[name] == "linf" else 1]
    assert measured == pytest.approx([0.004] * 3, rel=1e-3)


def unusual_state() -> nn.Module:
    """Train mode but for one submodule, mixed gradient flags, one weight with a gradient."""
    model = make_model().train()
    model.net.stage2.bn1.eval()
    for index, weight in enumerate(model.parameters()):
        weight.requires_grad_(index % 3 > 0)
    last = model.get_parameter("net.head.weight").requires_grad_(True)
    last.grad = torch.ones_like(last)
    return model


def state(model: nn.Module) -> list[Any]:
    """Flags and gradients by identity, and copies of weights, gradients and statistics."""
    weights = list(model.parameters())
    values = [*weights, *(w.grad for w in weights if w.grad is not None), *model.buffers()]
    return [
        [module.training for module in model.modules()],
        [(weight.requires_grad, id(weight.grad)) for weight in weights],
        [value.detach().clone().numpy().tobytes() for value in values],
    ]


@pytest.mark.parametrize("name", EVERY)
def test_the_model_is_as_before(name: str) -> None:
    model = unusual_state()
    before = state(model)
    x, y = images(), torch.tensor([1, 2, 3])
    out = ATTACKS[name](model, x, y, epsilon=0.1, **options(name))
    assert state(model) == before
    # it ran in eval mode: the same weights in an eval model give the same result
    assert torch.equal(out, ATTACKS[name](MODEL, x, y, epsilon=0.1, **options(name)))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [*((name, 0) for name in SEARCHING), *((name, 1) for name in SEARCHING[1:])],  # fgsm asks once
)
def test_the_model_is_as_before_when_it_raises(name: str, allowed: int) -> None:
    model = Counting(unusual_state(), allowed)
    before = state(model)
    x = images()
    y = predictions(MODEL, x)
    with pytest.raises(ArithmeticError, match="on purpose"):
        ATTACKS[name](model, x, y, epsilon=0.001, **options(name))
    assert len(model.batches) == allowed
    assert state(model) == before


@pytest.mark.parametrize("name", EVERY)
def test_the_model_is_as_before_when_progress_raises(name: str) -> None:
    def cancel(done: float) -> None:
        raise InterruptedError

    model = unusual_state()
    before = state(model)
    with pytest.raises(InterruptedError):
        ATTACKS[name](model, images(1), torch.tensor([0]), epsilon=0.1, progress=cancel)
    assert state(model) == before


@pytest.mark.parametrize("name", EVERY)
def test_seed_fixes_the_result_and_the_global_generator_rests(name: str) -> None:
    x = images()
    y = predictions(MODEL, x)

    def run(seed: int) -> Tensor:
        more = options(name, seed=seed, random_start=True, restarts=2)
        return ATTACKS[name](MODEL, x, y, epsilon=0.01, **more)

    before = torch.random.get_rng_state()
    first = run(5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(10)
    assert torch.equal(first, run(5))
    if name not in ("fgsm", *NEAREST):  # FGSM draws nothing; a first success may be the same
        assert not torch.equal(first, run(6))


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", EVERY)
def test_works_where_gradients_are_off(name: str, guard: Callable[[], Any]) -> None:
    x = images()
    y = predictions(MODEL, x)
    outside = ATTACKS[name](MODEL, x, y, epsilon=torch.full((3,), 0.01), **options(name))
    with guard():
        epsilon = torch.full((3,), 0.01)
        inside = ATTACKS[name](MODEL, x.clone(), y.clone(), epsilon=epsilon, **options(name))
        assert not torch.is_grad_enabled()
    assert torch.equal(outside, inside)
    assert not torch.equal(outside, x)


@pytest.mark.parametrize("name", EVERY)
def test_one_epsilon_per_sample_equals_separate_calls(name: str) -> None:
    x = images(4)
    y = predictions(MODEL, x)
    epsilons = torch.tensor([0.0, 0.01, 0.05, 0.3])
    together = ATTACKS[name](MODEL, x, y, epsilon=epsilons, **options(name))
    for i, epsilon in enumerate(epsilons):
        alone = ATTACKS[name](MODEL, x, y, epsilon=epsilon, **options(name))  # 0-d tensor
        number = ATTACKS[name](MODEL, x, y, epsilon=float(epsilon), **options(name))
        assert torch.equal(alone, number)
        # Square leaves out samples that are done: other batch sizes round differently
        torch.testing.assert_close(together[i], alone[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", GRADIENT)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 3, 0])
    together = ATTACKS[name](Linear(), x, y, epsilon=0.1, steps=4)
    parts = zip(x.split(1), y.split(1), strict=True)
    each = [ATTACKS[name](Linear(), *part, epsilon=0.1, steps=4) for part in parts]
    torch.testing.assert_close(together, torch.cat(each), rtol=0, atol=1e-9)
    assert together.dtype == torch.float64


@pytest.mark.parametrize("name", [*GRADIENT, "square"])  # others climb another loss
def test_attacks_raise_the_loss_and_targeted_ones_lower_it(name: str) -> None:
    x = images(6)
    y = predictions(MODEL, x)
    target = (y + 3) % 10
    epsilon = 0.3 if NORMS[name] == "l2" else 0.02
    more = options(name, steps=5) | ({"queries": 40} if name == "square" else {})
    away = ATTACKS[name](MODEL, x, y, epsilon=epsilon, **more)
    towards = ATTACKS[name](MODEL, x, target, epsilon=epsilon, targeted=True, **more)
    assert mean_loss(MODEL, away, y) > mean_loss(MODEL, x, y) + 1e-4
    assert mean_loss(MODEL, towards, target) < mean_loss(MODEL, x, target) - 1e-4


@pytest.mark.parametrize("name", EVERY)
def test_progress_rises_to_1(name: str) -> None:
    seen: list[float] = []
    x = images(1)
    y = predictions(MODEL, x)
    more = options(name, restarts=2, progress=seen.append)
    ATTACKS[name](MODEL, x, y, epsilon=0.001, **more)
    assert seen == sorted(seen)
    assert seen[0] >= 0
    assert seen[-1] == 1
    assert seen.count(1) == 1
    if name in PGD:
        assert seen == pytest.approx([step / 6 for step in range(7)])


def test_forward_code_stays_on_its_device() -> None:
    """Fake CUDA tensors: an operation that mixes devices raises."""
    with FakeTensorMode():
        x = torch.rand(2, 3, 8, 8, device="cuda")
        y = torch.zeros(2, dtype=torch.long, device="cuda")
        logits = torch.randn(2, 5, device="cuda")
        with pytest.raises(RuntimeError, match="device"):
            x + torch.zeros(2, 3, 8, 8)
        results = [
            *(threat.in_ball(x, norm, None) for norm in DEFAULT_EPSILONS),
            *(gradient.direction(x, norm) for norm in DEFAULT_EPSILONS),
            *(square_search.proposal(x, share, None) for share in (None, 0.01)),
            *(threat.project(x, x, x[:, :1, :1, :1], norm) for norm in DEFAULT_EPSILONS),
            *(loss(logits, y) for loss in LOSS.values()),
            *threat.perturbation_norms(x, x),
            objectives.margin(logits, y),
        ]
        assert {(result.device.type, result.dtype) for result in results} == {
            ("cuda", torch.float32)
        }
        assert objectives.succeeded(logits, y).device.type == "cuda"
