"""Intervals cover what they say: simulated coverage, textbook values, and Holm's correction."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nls_core.metrics import intervals

# shares of images, say: of differences below all that is measured scipy's p is NaN
values = st.lists(st.floats(-5, 5).map(lambda value: round(value, 6)), min_size=2, max_size=6)


@settings(max_examples=50, deadline=None)
@given(values)
def test_over_seeds_alone_it_is_the_t_test_of_scipy(numbers: list[float]) -> None:
    got = intervals.interval(dict(enumerate(numbers)))
    assert got is not None
    if len(set(numbers)) == 1:
        assert got.low == got.high == got.mean
        return
    wanted = stats.ttest_1samp(numbers, 0)
    low, high = wanted.confidence_interval(0.95)
    assert got.low == pytest.approx(low)
    assert got.high == pytest.approx(high)
    assert got.p == pytest.approx(wanted.pvalue)
    assert (got.pairs, got.method) == (len(numbers), "t over seeds")


def test_one_run_has_the_interval_of_its_images_or_none() -> None:
    lone = intervals.interval({3: 0.5})
    assert lone is not None
    assert (lone.low, lone.p, lone.method) == (None, None, "one run: no interval")
    drawn = torch.linspace(-1, 1, 1001)
    one = intervals.interval({3: 0.5}, {3: drawn})
    assert one is not None
    assert one.high == pytest.approx(0.5 + 1.959964 * float(drawn.std()), rel=1e-4)
    assert one.method == "images of one run"
    assert intervals.interval({}) is None


def coverage(seeds: int, spread: float, images: int, rounds: int = 400) -> float:
    """The share of 95 % intervals that hold the true difference of 0 in simulated experiments.

    A run is right on an image with a chance that depends on the image, the cell's seed and both.
    """
    generator = torch.Generator().manual_seed(seeds * 1000 + images)
    held = 0
    for _ in range(rounds):
        image = torch.randn(images, generator=generator)
        draws = torch.randint(images, (200, images), generator=generator)
        figures, drawn = [], []
        for _ in range(2):
            level = 1.5 + spread * torch.randn(seeds, 1, generator=generator)
            own = 0.7 * torch.randn(seeds, images, generator=generator)
            right = (image + level + own > 0).double()  # (seeds, images)
            figures.append({seed: float(right[seed].mean()) for seed in range(seeds)})
            drawn.append({seed: right[seed][draws].mean(1) for seed in range(seeds)})
        found = intervals.difference(figures[0], figures[1], (drawn[0], drawn[1]))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0 <= found.high
    return held / rounds


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.02, 0.2])
def test_an_interval_covers_what_it_says(seeds: int, spread: float) -> None:
    # of 400 rounds a share of 0.95 has a standard error of 0.011
    assert coverage(seeds, spread, images=300) >= 0.93


def test_images_widen_the_interval_and_add_degrees_of_freedom() -> None:
    runs = {0: 0.1, 1: 0.2, 2: 0.3}
    noise = torch.randn(3, 2000, generator=torch.Generator().manual_seed(0))
    narrow = intervals.interval(runs, {k: 0.0 * noise[k] for k in runs})
    wide = intervals.interval(runs, dict.fromkeys(runs, noise[0]))
    assert narrow is not None
    assert wide is not None
    assert narrow.high == pytest.approx(0.2 + stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3))
    assert wide.high is not None
    assert wide.high - wide.mean == pytest.approx(1.96 * float(noise[0].std()), rel=0.02)


def test_a_difference_is_of_the_seeds_that_both_have() -> None:
    got = intervals.difference({0: 3.0, 1: 5.0, 7: 99.0}, {0: 1.0, 1: 2.0, 5: 0.0})
    assert got is not None
    assert (got.mean, got.pairs) == (2.5, 2)
    assert intervals.difference({0: 1.0}, {1: 1.0}) is None


def test_a_factor_compares_a_ratio() -> None:
    third = intervals.difference({0: 1.0, 1: 1.1}, {0: 6.0, 1: 6.3}, factor=1 / 3)
    assert third is not None
    assert third.high is not None
    assert third.high < 0
    above = intervals.difference({0: 1.0, 1: 1.1}, {0: 2.7, 1: 3.0}, factor=1 / 3)
    assert above is not None
    assert above.mean > 0


def test_holm_steps_down() -> None:
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert intervals.holm([0.5, 0.9]) == [1.0, 1.0]
    assert intervals.holm([]) == []
