"""The bootstrap over images: shared draws, and how wide their intervals are."""

from __future__ import annotations

import math

import pytest
import torch

from nls_core.metrics import bootstrap, calibration, intervals, resampling


def fake(accuracy: float, seed: int, count: int = 2000) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (N, 3) that are right with the given share, and labels of class 0."""
    right = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < accuracy
    probs = torch.full((count, 3), 0.1)
    probs[torch.arange(count), (~right).long()] = 0.8
    return probs, torch.zeros(count, dtype=torch.long)


def test_images_of_one_object_are_drawn_together() -> None:
    drawn = bootstrap.draws(12, 5, per=3).view(5, 4, 3)
    assert torch.equal(drawn, drawn[..., :1] + torch.arange(3))
    assert bool((drawn[..., 0] % 3 == 0).all())


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    probs, labels = fake(0.9, 1)
    drawn = resampling.resampled(probs, labels, bootstrap.draws(2000, 400), ["accuracy"])
    whole = calibration.accuracy(probs, labels)
    found = intervals.interval({0: whole}, {0: drawn["accuracy"]})
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(0.9 * 0.1 / 2000), rel=0.2)
    assert found.low < whole < found.high


def test_draws_are_shared() -> None:
    first, again = bootstrap.draws(50, 7), bootstrap.draws(50, 7)
    assert torch.equal(first, again)
    assert first.shape == (7, 50)
    assert not torch.equal(first, bootstrap.draws(50, 7, seed=1))
