"""Intervals: closed forms, coverage, and pairing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nls_core.metrics import bootstrap, calibration

values = st.lists(st.floats(-5, 5), min_size=2, max_size=6)


def test_the_t_interval_is_the_textbooks() -> None:
    mine, base = {0: 1.0, 1: 2.0, 2: 4.0, 7: 9.0}, {0: 0.5, 1: 0.5, 2: 2.0, 5: 1.0}
    got = bootstrap.by_seed(mine, base)
    assert got is not None
    gaps = torch.tensor([0.5, 1.5, 2.0], dtype=torch.float64)
    half = 4.302653 * float(gaps.std()) / math.sqrt(3)  # t at 97.5 % with 2 degrees of freedom
    assert got.difference == pytest.approx(float(gaps.mean()))
    assert (got.low, got.high) == pytest.approx(
        (float(gaps.mean()) - half, float(gaps.mean()) + half)
    )
    assert got.pairs == 3


def test_one_pair_has_a_difference_and_no_interval() -> None:
    got = bootstrap.by_seed({3: 1.0}, {3: 0.25, 4: 9.0})
    assert got is not None
    assert (got.difference, got.low, got.high, got.pairs) == (0.75, None, None, 1)
    assert bootstrap.by_seed({3: 1.0}, {4: 1.0}) is None


@settings(max_examples=50, deadline=None)
@given(values, st.floats(-3, 3))
def test_a_shift_shifts_the_interval(numbers: list[float], shift: float) -> None:
    mine = dict(enumerate(numbers))
    got = bootstrap.by_seed({k: v + shift for k, v in mine.items()}, mine)
    assert got is not None
    assert got.difference == pytest.approx(shift, abs=1e-9)
    assert got.low == pytest.approx(shift, abs=1e-7)


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
    (mine, labels), (base, _) = fake(0.9, 1), fake(0.8, 2)
    metric = {"accuracy": calibration.accuracy}
    rounds = bootstrap.resampled({"m": {0: mine}, "b": {0: base}}, labels, metric, resamples=400)
    pairs = [({0: r["m"][0]["accuracy"]}, {0: r["b"][0]["accuracy"]}) for r in rounds]
    whole = [{0: calibration.accuracy(p, labels)} for p in (mine, base)]
    got = bootstrap.by_image_and_seed(whole[0], whole[1], pairs)
    assert got is not None
    assert got.low is not None
    assert got.high is not None
    wanted = 2 * 1.96 * math.sqrt(0.9 * 0.1 / 2000 + 0.8 * 0.2 / 2000)
    assert got.high - got.low == pytest.approx(wanted, rel=0.2)
    assert got.low < got.difference < got.high
    assert got.method == "paired bootstrap over images"


def test_runs_that_differ_widen_the_interval() -> None:
    metric = {"accuracy": calibration.accuracy}
    labels = fake(0.5, 0)[1]
    mine = {k: fake(share, 10 + k)[0] for k, share in enumerate((0.7, 0.8, 0.9))}
    base = {k: fake(0.6, 20 + k)[0] for k in range(3)}
    rounds = bootstrap.resampled({"m": mine, "b": base}, labels, metric, resamples=200)
    pairs = [
        tuple({k: v["accuracy"] for k, v in r[name].items()} for name in ("m", "b")) for r in rounds
    ]
    whole = [{k: calibration.accuracy(p, labels) for k, p in each.items()} for each in (mine, base)]
    got = bootstrap.by_image_and_seed(whole[0], whole[1], pairs)  # type: ignore[arg-type]
    alone = bootstrap.by_image_and_seed(
        {1: whole[0][1]}, {1: whole[1][1]}, [({1: a[1]}, {1: b[1]}) for a, b in pairs]
    )
    assert got is not None
    assert alone is not None
    assert got.high - got.low > 2 * (alone.high - alone.low)
    assert got.pairs == 3
