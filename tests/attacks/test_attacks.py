"""Attacks against their contract, closed forms and the torchattacks library."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchattacks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from nls_core.attacks import ATTACKS, gradient, square_search, threat
from nls_core.attacks.threat import DEFAULT_EPSILONS, LOSS
from nls_core.errors import InvalidInput, UnknownName
from tests.conftest import make_model

EVERY = tuple(ATTACKS)
NORMS = {name: attack.norm for name, attack in ATTACKS.items()}
PGD = ("pgd-linf", "pgd-l2")
GRADIENT = ("fgsm", *PGD)
AIMED = ("apgd-t", "fab-t")  # at one class after the other
DONE = ("apgd-ce", *AIMED, "autoattack")  # with a sample at its first success
SEARCHING = (*GRADIENT, *DONE, "apgd-dlr", "square")  # those that run the model
NEAREST = ("fab-t", "autoattack")  # which look for a small change
NOISE = ("gaussian", "salt-pepper")
SHARED: dict[str, Any] = {
    "targeted": False,
    "seed": 1,
    "steps": 2,
    "restarts": 2,
    "random_start": True,
    "progress": lambda done: None,
}
MODEL = make_model()
MODEL3 = make_model(channels=3)
small = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def options(name: str, **more: Any) -> dict[str, Any]:
    """Few steps, targets and queries."""
    fewer = {key: {"targets": 2} for key in AIMED} | {"square": {"queries": 8}}
    known: dict[str, Any] = fewer.get(name, {"steps": 1} if name == "autoattack" else {})
    return {"steps": 3} | known | more


def images(count: int = 3, channels: int = 1, size: int = 28, seed: int = 7) -> Tensor:
    """Seeded images with pixels at both ends of the range."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, channels, size, size, generator=generator) * 1.4 - 0.2).clamp(0, 1)


def predictions(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


def mean_loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(model(x), y))


def norms(x: Tensor, adversarial: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """L∞ and L2 in float64, apart from the code under test."""
    delta = (adversarial.double() - x.double()).flatten(1).numpy()
    return np.abs(delta).max(1), np.sqrt((delta**2).sum(1))


class Counting(nn.Module):
    """Counts forwards and the images in them; raises from the n-th forward on."""

    def __init__(self, model: nn.Module, allowed: float = math.inf) -> None:
        super().__init__()
        self.model, self.allowed = model, allowed
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if len(self.batches) >= self.allowed:
            raise ArithmeticError("broken on purpose")
        self.batches.append(len(x))
        return self.model(x)


class Linear(nn.Module):
    """Logits that are a seeded linear function of the pixels: gradients in closed form."""

    def __init__(self, classes: int = 4, pixels: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, pixels, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.to(x.dtype).T


class NaNGradient(nn.Module):
    """Adds 0·sqrt(0) to chosen pixels: the logits stay, their gradient there becomes NaN."""

    def __init__(self, model: nn.Module, mask: Tensor) -> None:
        super().__init__()
        self.model, self.mask = model, mask

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + torch.where(self.mask, x - x.detach(), 1.0).sqrt() * 0)


# the registries


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


def test_fgsm_does_not_pass_the_options_of_pgd_on() -> None:
    with pytest.raises(TypeError, match="early_stop"):
        ATTACKS["fgsm"](MODEL, images(1), torch.tensor([0]), epsilon=0.1, early_stop=True)


# the contract of every attack


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


# errors

GOOD_X, GOOD_Y = images(2), torch.tensor([0, 1])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must"),
        ({"epsilon": math.nan}, "epsilon must"),
        ({"epsilon": math.inf}, "epsilon must"),
        ({"epsilon": "a lot"}, "epsilon must be a number"),
        ({"epsilon": torch.tensor([0.1, 0.2, 0.3])}, r"got shape \(3,\)"),
        ({"epsilon": torch.tensor([0.1, -0.2])}, "epsilon must"),
        ({"epsilon": torch.tensor([[0.1, 0.2]])}, r"got shape \(1, 2\)"),
        ({"x": GOOD_X[0]}, r"shape \(B, C, H, W\)"),
        ({"x": GOOD_X[:0], "y": GOOD_Y[:0]}, "not empty"),
        ({"x": (GOOD_X * 255).to(torch.uint8)}, "float dtype"),
        ({"x": GOOD_X * 255}, r"x must lie in \[0, 1\]"),
        ({"x": GOOD_X - 0.5}, r"x must lie in \[0, 1\]"),
        ({"x": GOOD_X / 0}, r"x must lie in \[0, 1\]"),
        ({"y": GOOD_Y.float()}, "integer dtype"),
        ({"y": GOOD_Y > 0}, "integer dtype"),
        ({"y": GOOD_Y[:1]}, r"expected \(2,\) labels"),
        ({"y": GOOD_Y[:, None]}, r"expected \(2,\) labels"),
        ({"y": GOOD_Y - 1}, "labels must be at least 0; got -1"),
        ({"steps": 0}, "steps must be an integer of at least 1; got 0"),
        ({"steps": 2.5}, "steps"),
        ({"restarts": 0}, "restarts"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_wrong_arguments(name: str, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": GOOD_X, "y": GOOD_Y, "epsilon": 0.1} | change
    with pytest.raises(InvalidInput, match=message):
        ATTACKS[name](MODEL, **arguments)


@pytest.mark.parametrize("name", EVERY)
def test_epsilon_above_1_is_for_l2_only(name: str) -> None:
    if NORMS[name] == "l2":
        out = ATTACKS[name](MODEL, GOOD_X, GOOD_Y, epsilon=3.0, **options(name))
        assert (norms(GOOD_X, out)[1] > 1).all()
    else:
        with pytest.raises(InvalidInput, match=r"epsilon must lie in \[0, 1\]; got 1.5"):
            ATTACKS[name](MODEL, GOOD_X, GOOD_Y, epsilon=1.5)


@pytest.mark.parametrize("name", SEARCHING)
def test_labels_beyond_the_model(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"labels must lie in \[0, 10\); got 10"):
        ATTACKS[name](MODEL, GOOD_X, torch.tensor([0, 10]), epsilon=0.1)


@pytest.mark.parametrize("name", SEARCHING)
@pytest.mark.parametrize("model", [nn.Identity(), Linear(classes=1, pixels=784)])
def test_models_that_do_not_classify(name: str, model: nn.Module) -> None:
    with pytest.raises(InvalidInput, match="K ≥ 2"):
        ATTACKS[name](model, GOOD_X, torch.tensor([0, 0]), epsilon=0.1)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("pgd-linf", {"loss": "hinge"}, "unknown attack loss 'hinge'"),
        ("fgsm", {"loss": "hinge"}, r"expected one of \['ce', 'dlr'\]"),
        ("pgd-l2", {"step_size": -1.0}, "step_size must"),
        ("pgd-l2", {"step_size": torch.ones(3)}, "step_size must"),
        ("pgd-linf", {"first_gradient": torch.ones(2, 1, 4, 4)}, "first_gradient"),
        ("fgsm", {"first_gradient": torch.ones(2, 1, 4, 4)}, "first_gradient"),
        ("square", {"queries": 0}, "queries must be an integer of at least 1; got 0"),
        ("salt-pepper", {"amount": 1.1}, r"amount must lie in \[0, 1\]; got 1.1"),
        ("salt-pepper", {"amount": math.nan}, "amount"),
    ],
)
def test_wrong_options(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ATTACKS[name](MODEL, GOOD_X, GOOD_Y, epsilon=0.1, **change)


def test_unknown_norm() -> None:
    with pytest.raises(UnknownName, match=r"unknown norm 'l1'; expected one of \['l2', 'linf'\]"):
        gradient.pgd(MODEL, GOOD_X, GOOD_Y, epsilon=0.1, norm="l1")


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(InvalidInput, match="at least 3 classes; got 2"):
        ATTACKS["fgsm"](Linear(2, 784), GOOD_X, GOOD_Y, epsilon=0.1, loss="dlr")


# losses and measures


def test_dlr_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -2.0]]).expand(4, -1)
    y = torch.arange(4)
    # (largest other - own) / (1st - 3rd), 1st - 3rd = 3
    expected = torch.tensor([-2 / 3, 2 / 3, 1.0, 5 / 3])
    torch.testing.assert_close(LOSS["dlr"](logits, y), expected)
    torch.testing.assert_close(LOSS["dlr"](logits * 100 + 7, y), expected)
    assert threat.margin(logits, y).tolist() == [-2.0, 2.0, 3.0, 5.0]


def test_dlr_equals_torchattacks() -> None:
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    y = torch.arange(50) % 10
    theirs = torchattacks.APGD(MODEL, loss="dlr").dlr_loss(logits, y)
    torch.testing.assert_close(LOSS["dlr"](logits, y), theirs)


def test_dlr_of_equal_logits_has_a_finite_gradient() -> None:
    logits = torch.zeros(1, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(LOSS["dlr"](logits, torch.tensor([0])).sum(), logits)
    assert gradient.isfinite().all()


def test_succeeded() -> None:
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [math.nan, 1.0], [1.0, math.nan]])
    y = torch.tensor([0, 0, 1, 1])
    assert threat.succeeded(logits, y).tolist() == [False, True, False, False]
    assert threat.succeeded(logits, y, True).tolist() == [True, False, False, False]


def test_perturbation_norms_by_hand() -> None:
    x = torch.zeros(2, 1, 2, 2)
    moved = x.clone()
    moved[1, 0, 0] = torch.tensor([0.3, -0.4])
    linf, l2 = threat.perturbation_norms(x, moved)
    torch.testing.assert_close(linf, torch.tensor([0.0, 0.4]))
    torch.testing.assert_close(l2, torch.tensor([0.0, 0.5]))
    with pytest.raises(InvalidInput, match="of one shape"):
        threat.perturbation_norms(x, moved[:1])


# FGSM and PGD


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", GRADIENT)
def test_equals_torchattacks(name: str, targeted: bool) -> None:
    epsilon, step = (1.0, 0.3) if name == "pgd-l2" else (8 / 255, 2 / 255)
    pgd = {"eps": epsilon, "alpha": step, "steps": 5, "random_start": False}
    theirs = {
        "fgsm": lambda: torchattacks.FGSM(MODEL, eps=epsilon),
        "pgd-linf": lambda: torchattacks.PGD(MODEL, **pgd),
        "pgd-l2": lambda: torchattacks.PGDL2(MODEL, **pgd),
    }[name]()
    x = images(4)
    y = (predictions(MODEL, x) + 3 * targeted) % 10
    if targeted:
        theirs.set_mode_targeted_by_label(quiet=True)
    more = {} if name == "fgsm" else {"step_size": step}
    ours = ATTACKS[name](MODEL, x, y, epsilon=epsilon, steps=5, targeted=targeted, **more)
    torch.testing.assert_close(ours, theirs(x, y), rtol=0, atol=1e-6)
    assert not torch.equal(ours, x)


@pytest.mark.parametrize("name", GRADIENT)
def test_closed_form_on_a_linear_margin(name: str) -> None:
    """With two classes the gradient has one direction, so PGD ends at the ball's best point."""
    model, x = Linear(classes=2), torch.full((2, 1, 4, 4), 0.5)
    y = torch.tensor([0, 1])
    weight = model.weight.detach()
    ascent = torch.stack([weight[1] - weight[0], weight[0] - weight[1]]).view(2, 1, 4, 4)
    unit = ascent.sign() if NORMS[name] == "linf" else ascent / ascent[:1].norm()
    out = ATTACKS[name](model, x, y, epsilon=0.1, steps=5)
    torch.testing.assert_close(out, x + 0.1 * unit)
    reached = ATTACKS[name](model, x, y, epsilon=0.1, steps=5, targeted=True)
    torch.testing.assert_close(reached, x - 0.1 * unit)


@pytest.mark.parametrize("name", PGD)
def test_default_step_size(name: str) -> None:
    x, y = images(), torch.tensor([1, 2, 3])
    epsilon = torch.tensor([0.01, 0.02, 0.1])
    default = ATTACKS[name](MODEL, x, y, epsilon=epsilon, steps=5)
    given_size = ATTACKS[name](MODEL, x, y, epsilon=epsilon, steps=5, step_size=epsilon / 2)
    other = ATTACKS[name](MODEL, x, y, epsilon=epsilon, steps=5, step_size=0.001)
    torch.testing.assert_close(default, given_size, rtol=0, atol=1e-6)
    assert not torch.equal(default, other)


@pytest.mark.parametrize("name", PGD)
def test_random_start_differs_by_sample_and_fills_the_ball(name: str) -> None:
    x = torch.full((4, 1, 28, 28), 0.5)
    y = predictions(MODEL, x)
    out = ATTACKS[name](MODEL, x, y, epsilon=0.1, steps=1, step_size=0.0, random_start=True)
    assert not torch.equal(out[0], out[1])
    linf, l2 = norms(x, out)
    if name == "pgd-linf":
        assert (linf > 0.099).all()
        assert float((out - x).std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.05)
    else:  # a ball of 784 dimensions is almost all shell
        assert (l2 > 0.09).all()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", GRADIENT)
def test_first_gradient_saves_a_forward(name: str, targeted: bool) -> None:
    x = images()
    y = predictions(MODEL, x)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(MODEL(leaf), y), leaf)
    model = Counting(MODEL)
    more = {"epsilon": 0.05, "steps": 3, "targeted": targeted}
    plain = ATTACKS[name](model, x, y, **more)
    needed = len(model.batches)
    assert needed == (1 if name == "fgsm" else 3)
    kept = gradient.clone()
    given_first = ATTACKS[name](model, x, y, first_gradient=gradient, **more)
    assert len(model.batches) - needed == needed - 1
    assert torch.equal(gradient, kept)
    torch.testing.assert_close(given_first, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PGD)
def test_first_gradient_is_not_used_after_a_random_start(name: str) -> None:
    x = images()
    y = predictions(MODEL, x)
    more = {"epsilon": 0.05, "steps": 2, "random_start": True}
    wrong = torch.ones_like(x)
    plain = ATTACKS[name](MODEL, x, y, **more)
    assert torch.equal(plain, ATTACKS[name](MODEL, x, y, first_gradient=wrong, **more))


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("name", PGD)
def test_early_stop_leaves_what_has_succeeded(name: str, restarts: int) -> None:
    x = images(4)
    clean = predictions(MODEL, x)
    y = clean.clone()
    y[0] = (y[0] + 1) % 10  # this one succeeds before it begins
    epsilon = torch.tensor([1.0, 1.0, 1.0, 0.0])  # the last one never does
    model = Counting(MODEL)
    out = ATTACKS[name](
        model, x, y, epsilon=epsilon, step_size=0.05, steps=20, restarts=restarts, early_stop=True
    )
    assert torch.equal(out[0], x[0])
    assert torch.equal(out[3], x[3])
    assert model.batches[:2] == [4, 3]
    full = ATTACKS[name](MODEL, x, y, epsilon=epsilon, step_size=0.05, steps=20, restarts=restarts)
    hit = predictions(MODEL, out) != y
    assert torch.equal(hit, predictions(MODEL, full) != y)
    assert hit[1] or hit[2]
    moved, moved_full = norms(x, out)[1], norms(x, full)[1]
    stopped = hit.numpy() & (moved > 0)
    assert (moved[stopped] < moved_full[stopped]).all()
    if restarts == 2:  # only what the first run missed is attacked again
        last = model.batches[-1]
        assert last == int((~hit).sum())


@pytest.mark.parametrize("name", PGD)
def test_early_stop_ends_when_all_have_succeeded(name: str) -> None:
    x = images()
    model = Counting(MODEL)
    y = (predictions(MODEL, x) + 1) % 10
    seen: list[float] = []
    out = ATTACKS[name](model, x, y, epsilon=0.1, steps=50, early_stop=True, progress=seen.append)
    assert model.batches == [3]
    assert torch.equal(out, x)
    assert seen[-1] == 1


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", sorted(LOSS))
@pytest.mark.parametrize("name", PGD)
def test_restarts_keep_the_best(name: str, loss: str, targeted: bool) -> None:
    x = images(6)
    y = (predictions(MODEL, x) + 3 * targeted) % 10
    epsilon = 0.25 if name == "pgd-l2" else 0.01
    more: dict[str, Any] = {"epsilon": epsilon, "steps": 2, "loss": loss, "targeted": targeted}

    def rank(out: Tensor) -> list[tuple[bool, float]]:
        with torch.no_grad():
            logits = MODEL(out)
        value = LOSS[loss](logits, y) * (-1 if targeted else 1)
        hits = threat.succeeded(logits, y, targeted)
        return [(bool(h), round(float(v), 4)) for h, v in zip(hits, value, strict=True)]

    one = rank(ATTACKS[name](MODEL, x, y, random_start=True, **more))
    many = rank(ATTACKS[name](MODEL, x, y, random_start=True, restarts=4, **more))
    assert all(b >= a for a, b in zip(one, many, strict=True))
    assert many != one  # the first start is the same: some other run won


@pytest.mark.parametrize("name", PGD)
def test_later_runs_start_at_random(name: str) -> None:
    x = images()
    y = predictions(MODEL, x)
    model = Counting(MODEL)
    more = {"epsilon": 0.1, "step_size": 0.0, "steps": 1}
    assert torch.equal(ATTACKS[name](model, x, y, **more), x)  # without steps only a start moves
    out = ATTACKS[name](model, x, y, restarts=8, **more)
    assert not torch.equal(out, x)
    assert mean_loss(MODEL, out, y) > mean_loss(MODEL, x, y)


def test_fgsm_makes_one_step_from_x_whatever_the_options() -> None:
    x = images()
    y = predictions(MODEL, x)
    model = Counting(MODEL)
    plain = ATTACKS["fgsm"](model, x, y, epsilon=0.1)
    assert torch.equal(plain, ATTACKS["fgsm"](model, x, y, epsilon=0.1, **SHARED))
    assert model.batches == [3, 3]


def test_dlr_loss_is_used() -> None:
    x = images(4)
    y = predictions(MODEL, x)
    by_ce, by_dlr = (
        ATTACKS["pgd-linf"](MODEL, x, y, epsilon=0.02, steps=5, loss=loss) for loss in LOSS
    )
    assert not torch.equal(by_ce, by_dlr)
    with torch.no_grad():
        clean, attacked = (LOSS["dlr"](MODEL(images_), y).mean() for images_ in (x, by_dlr))
    assert attacked > clean


@pytest.mark.parametrize("name", GRADIENT)
def test_nan_gradients_count_as_0(name: str) -> None:
    x = images()
    y = predictions(MODEL, x)
    mask = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    mask[..., :14, :] = True
    model = NaNGradient(MODEL, mask)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf).sum(), leaf)
    assert bool(gradient[..., :14, :].isnan().all())  # the model does what the test needs
    out = ATTACKS[name](model, x, y, epsilon=0.05, steps=3)
    assert torch.equal(out[..., :14, :], x[..., :14, :])
    assert not torch.equal(out[..., 14:, :], x[..., 14:, :])
    assert out.isfinite().all()


def test_tiny_gradients_still_give_a_full_l2_step() -> None:
    x, y = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    out = ATTACKS["pgd-l2"](
        Linear(), x, y, epsilon=0.1, steps=1, first_gradient=torch.full_like(x, 1e-30)
    )
    torch.testing.assert_close(out, x + 0.1 / 4)


# Square and noise


@pytest.mark.parametrize("targeted", [False, True])
def test_square_never_makes_it_worse(targeted: bool) -> None:
    x = images(6)
    y = (predictions(MODEL, x) + 3 * targeted) % 10
    sign = -1 if targeted else 1
    out = ATTACKS["square"](MODEL, x, y, epsilon=0.02, queries=30, targeted=targeted)
    with torch.no_grad():
        before, after = (sign * threat.margin(MODEL(part), y) for part in (x, out))
    assert bool((after >= before - 1e-6).all())
    assert bool((after > before).any())


def test_square_stops_each_sample_at_its_first_success() -> None:
    x = images(4)
    y = predictions(MODEL, x)
    y[0] = (y[0] + 1) % 10
    epsilon = torch.tensor([0.5, 1.0, 1.0, 0.0])
    model = Counting(MODEL)
    out = ATTACKS["square"](model, x, y, epsilon=epsilon, queries=60)
    assert torch.equal(out[0], x[0])
    assert model.batches[:2] == [4, 3]
    assert len(model.batches) == 60  # the last sample cannot succeed
    hit = predictions(MODEL, out) != y
    assert model.batches[-1] == int((~hit).sum()) < 3


@pytest.mark.parametrize(("more", "expected"), [({"steps": 1}, 50), ({"queries": 7}, 7)])
def test_square_makes_as_many_queries_as_told(more: dict[str, int], expected: int) -> None:
    x = images(1)
    model = Counting(MODEL)
    ATTACKS["square"](model, x, predictions(MODEL, x), epsilon=0.0, **more)
    assert len(model.batches) == expected


def test_square_changes_stripes_then_shrinking_squares() -> None:
    x, generator = images(64, 3), torch.Generator().manual_seed(0)
    stripes = square_search.proposal(x, None, generator)
    assert stripes.shape == (64, 3, 1, 28)
    assert set(stripes.unique().tolist()) == {-1.0, 1.0}
    sides = []
    for share in (0.0005, 0.01, 0.3, 0.9):
        change = square_search.proposal(x, share, generator)  # (64, 3, 28, 28)
        inside = change.abs()
        assert set(inside.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(inside[:, 0], inside[:, 2])  # one place for all channels
        rows, columns = inside[:, 0].amax(2).sum(1), inside[:, 0].amax(1).sum(1)  # (64,) each
        assert torch.equal(rows, columns)
        assert torch.equal(inside[:, 0].sum((1, 2)), rows * columns)
        assert len(rows.unique()) == 1
        sides.append(int(rows[0]))
        colours = change.sum((2, 3)) / (rows * columns)[:, None]  # (64, 3): one sign a channel
        assert set(colours.unique().tolist()) == {-1.0, 1.0}
    assert sides == [25, 13, 3, 1]  # round(28·sqrt(0.8 / 2^halvings)) for 0, 2, 6, 9 halvings
    # places differ, and reach every edge
    spots = square_search.proposal(x, 0.01, generator).abs().amax((0, 1))
    assert bool(spots.amax(0).all() and spots.amax(1).all())  # every column, every row


def test_square_equals_brute_force_on_a_linear_model() -> None:
    """The best point of the ball is a corner; random search must come near its margin."""
    model, x = Linear(classes=2), torch.full((1, 1, 4, 4), 0.5)
    y = predictions(model, x)
    weight = model.weight.detach()
    direction = (weight[1 - int(y)] - weight[int(y)]).view(1, 1, 4, 4)
    with torch.no_grad():
        clean = float(threat.margin(model(x), y))
    epsilon = 0.9 * -clean / float(direction.abs().sum())  # 90 % of what a success needs
    assert 0 < epsilon < 0.5
    out = ATTACKS["square"](model, x, y, epsilon=epsilon, queries=400)
    with torch.no_grad():
        gained = float(threat.margin(model(out), y)) - clean
    assert gained == pytest.approx(-0.9 * clean, rel=0.02)


@pytest.mark.parametrize("name", NOISE)
def test_noise_never_runs_the_model(name: str) -> None:
    model = Counting(MODEL, allowed=0)
    assert not torch.equal(ATTACKS[name](model, GOOD_X, GOOD_Y, epsilon=0.1), GOOD_X)


def test_gaussian_is_a_clipped_normal() -> None:
    x = torch.full((4, 3, 64, 64), 0.5)
    delta = (ATTACKS["gaussian"](MODEL3, x, torch.zeros(4).long(), epsilon=0.1) - x) / 0.1
    assert float(delta.mean()) == pytest.approx(0, abs=0.02)
    # E[z²; |z| < 1] + P(|z| > 1) = 0.1987 + 0.3173
    assert float(delta.pow(2).mean()) == pytest.approx(0.5161, abs=0.02)
    assert float((delta.abs() > 1 - 1e-4).float().mean()) == pytest.approx(0.3173, abs=0.02)


@pytest.mark.parametrize("amount", [0.0, 0.2, 0.5, 1.0])
def test_salt_and_pepper(amount: float) -> None:
    x = torch.full((4, 3, 64, 64), 0.5)
    y = torch.zeros(4, dtype=torch.long)
    delta = ATTACKS["salt-pepper"](MODEL3, x, y, epsilon=0.125, amount=amount) - x
    assert set(delta.abs().unique().tolist()) <= {0.0, 0.125}
    assert torch.equal(delta[:, 0], delta[:, 2])
    assert float((delta != 0).float().mean()) == pytest.approx(amount, abs=0.02)
    assert float((delta > 0).float().mean()) == pytest.approx(amount / 2, abs=0.02)


# devices


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
            threat.margin(logits, y),
        ]
        assert {(result.device.type, result.dtype) for result in results} == {
            ("cuda", torch.float32)
        }
        assert threat.succeeded(logits, y).device.type == "cuda"
