"""FGSM and PGD against closed forms and the torchattacks library."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from torch import Tensor

from nls_core.attacks import ATTACKS, gradient, objectives
from nls_core.attacks.objectives import LOSS
from nls_core.errors import UnknownName
from tests.helpers.attacks import (
    GOOD_X,
    GOOD_Y,
    GRADIENT,
    MODEL,
    NORMS,
    PGD,
    SHARED,
    Counting,
    Linear,
    NaNGradient,
    images,
    mean_loss,
    norms,
    predictions,
)


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


@pytest.mark.parametrize("at_random", [False, True])
@pytest.mark.parametrize("name", PGD)
def test_the_trace_is_what_the_model_says_before_each_step(name: str, at_random: bool) -> None:
    x = images()
    y = predictions(MODEL, x)
    told: dict[int, Tensor] = {}
    more: dict[str, Any] = {"epsilon": 0.05, "step_size": 0.01, "random_start": at_random}
    model = Counting(MODEL)
    ATTACKS[name](model, x, y, steps=4, trace=told.__setitem__, **more)
    assert list(told) == [0, 1, 2, 3]
    assert len(model.batches) == 4  # and no forward more
    for steps in (1, 2, 3):
        after = ATTACKS[name](MODEL, x, y, steps=steps, **more)
        torch.testing.assert_close(told[steps], MODEL(after))
    if not at_random:
        torch.testing.assert_close(told[0], MODEL(x))


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
        hits = objectives.succeeded(logits, y, targeted)
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


def test_unknown_norm() -> None:
    with pytest.raises(UnknownName, match=r"unknown norm 'l1'; expected one of \['l2', 'linf'\]"):
        gradient.pgd(MODEL, GOOD_X, GOOD_Y, epsilon=0.1, norm="l1")


def test_fgsm_does_not_pass_the_options_of_pgd_on() -> None:
    with pytest.raises(TypeError, match="early_stop"):
        ATTACKS["fgsm"](MODEL, images(1), torch.tensor([0]), epsilon=0.1, early_stop=True)
