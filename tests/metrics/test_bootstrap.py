"""The bootstrap over images: shared draws, and metrics on them."""

from __future__ import annotations

import math

import pytest
import torch

from nls_core.metrics import bootstrap, calibration, intervals


def fake(accuracy: float, seed: int, count: int = 2000) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (N, 3) that are right with the given share, and labels of class 0."""
    right = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < accuracy
    probs = torch.full((count, 3), 0.1)
    probs[torch.arange(count), (~right).long()] = 0.8
    return probs, torch.zeros(count, dtype=torch.long)


def test_all_runs_are_measured_on_the_same_resampled_images() -> None:
    probs, labels = fake(0.8, 1)
    runs = {"a": {0: probs, 1: probs}, "b": {0: probs}}
    done: list[int] = []
    rounds = bootstrap.resampled(
        runs, labels, {"accuracy": calibration.accuracy}, resamples=5, progress=done.append
    )
    assert sum(done) == 5
    drawn = [each["a"][0]["accuracy"] for each in rounds]
    assert len(set(drawn)) > 1
    for each in rounds:
        assert each["a"][0] == each["a"][1] == each["b"][0]


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    probs, labels = fake(0.9, 1)
    metric = {"accuracy": calibration.accuracy}
    rounds = bootstrap.resampled({"m": {0: probs}}, labels, metric, resamples=400)
    whole = calibration.accuracy(probs, labels)
    drawn = torch.tensor([each["m"][0]["accuracy"] for each in rounds])
    found = intervals.interval({0: whole}, {0: drawn})
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
