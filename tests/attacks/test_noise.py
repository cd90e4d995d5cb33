"""The controls: noise of the stated distribution, without asking the model."""

from __future__ import annotations

import pytest
import torch

from nls_core.attacks import ATTACKS
from tests.helpers.attacks import GOOD_X, GOOD_Y, MODEL, MODEL3, NOISE, Counting


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


@pytest.mark.parametrize("name", NOISE)
def test_one_start_is_one_noise_at_every_strength(name: str) -> None:
    x, y = torch.full((3, 1, 8, 8), 0.5), torch.zeros(3).long()
    epsilon = torch.tensor([0.01, 0.02, 0.04])
    delta = ATTACKS[name](MODEL, x, y, epsilon=epsilon, one_start=True) - x
    torch.testing.assert_close(4 * delta[0], delta[2], atol=1e-6, rtol=1e-4)
    alone = ATTACKS[name](MODEL, x[:1], y[:1], epsilon=0.02, one_start=True) - x[:1]
    torch.testing.assert_close(alone[0], delta[1])


@pytest.mark.parametrize("amount", [0.0, 0.2, 0.5, 1.0])
def test_salt_and_pepper(amount: float) -> None:
    x = torch.full((4, 3, 64, 64), 0.5)
    y = torch.zeros(4, dtype=torch.long)
    delta = ATTACKS["salt-pepper"](MODEL3, x, y, epsilon=0.125, amount=amount) - x
    assert set(delta.abs().unique().tolist()) <= {0.0, 0.125}
    assert torch.equal(delta[:, 0], delta[:, 2])
    assert float((delta != 0).float().mean()) == pytest.approx(amount, abs=0.02)
    assert float((delta > 0).float().mean()) == pytest.approx(amount / 2, abs=0.02)
