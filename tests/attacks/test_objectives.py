"""What attacks climb, by hand and against torchattacks."""

from __future__ import annotations

import math

import pytest
import torch
import torchattacks

from nls_core.attacks import ATTACKS, objectives
from nls_core.attacks.objectives import LOSS
from nls_core.errors import InvalidInput
from tests.helpers.attacks import GOOD_X, GOOD_Y, MODEL, Linear


def test_dlr_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -2.0]]).expand(4, -1)
    y = torch.arange(4)
    # (largest other - own) / (1st - 3rd), 1st - 3rd = 3
    expected = torch.tensor([-2 / 3, 2 / 3, 1.0, 5 / 3])
    torch.testing.assert_close(LOSS["dlr"](logits, y), expected)
    torch.testing.assert_close(LOSS["dlr"](logits * 100 + 7, y), expected)
    assert objectives.margin(logits, y).tolist() == [-2.0, 2.0, 3.0, 5.0]


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
    assert objectives.succeeded(logits, y).tolist() == [False, True, False, False]
    assert objectives.succeeded(logits, y, True).tolist() == [True, False, False, False]


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(InvalidInput, match="at least 3 classes; got 2"):
        ATTACKS["fgsm"](Linear(2, 784), GOOD_X, GOOD_Y, epsilon=0.1, loss="dlr")
