"""Arguments that attacks refuse, and what they say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from nls_core.attacks import ATTACKS
from nls_core.errors import InvalidInput
from tests.helpers.attacks import (
    EVERY,
    GOOD_X,
    GOOD_Y,
    MODEL,
    NORMS,
    SEARCHING,
    Linear,
    norms,
    options,
)


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
