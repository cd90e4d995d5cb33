"""Calibration metrics against hand-computed cases, torchmetrics and netcal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from random import Random
from typing import Any, Literal

import hypothesis.strategies as st
import netcal.metrics
import netcal.scaling
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torchmetrics.functional import calibration_error

from nls_core.errors import InvalidInput
from nls_core.metrics import calibration
from nls_core.metrics.calibration import METRICS, Reliability, bin_of, reliability
from tests.helpers.predictions import draw

ERRORS = ("ece", "adaptive_ece", "mce", "classwise_ece")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small two threads wait for each other, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def binary(confidences: list[float], hits: list[int]) -> tuple[Tensor, Tensor]:
    """Two-class rows with these top-1 confidences (class 0); label 0 where it is a hit."""
    top = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([top, 1 - top], 1), 1 - torch.tensor(hits)


@st.composite
def predictions(draw_from: st.DrawFn) -> tuple[Tensor, Tensor]:
    rows = draw_from(st.integers(1, 40))
    classes = draw_from(st.integers(2, 6))
    scale = draw_from(st.sampled_from([0.0, 0.5, 3.0, 100.0]))
    dtype = draw_from(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw_from(st.integers(0, 2**32)))
    z = torch.randn(rows, classes, generator=generator) * scale
    return z.to(dtype).softmax(1), torch.randint(classes, (rows,), generator=generator)


# --- by hand -----------------------------------------------------------------------------------


def test_hand_computed_bins() -> None:
    # bins of width 1/2: (0.5, 1] holds all; of width 1/5: (0.4, 0.6], (0.6, 0.8], (0.8, 1]
    p, y = binary([0.55, 0.7, 0.8, 0.9, 1.0], [1, 0, 1, 1, 0])
    assert calibration.ece(p, y, bins=2) == pytest.approx(abs(0.6 - 0.79))
    # gaps: 1-0.55 over 1 row; 0.5-0.75 over 2 rows; 0.5-0.95 over 2 rows
    assert calibration.ece(p, y, bins=5) == pytest.approx((0.45 + 2 * 0.25 + 2 * 0.45) / 5)
    assert calibration.mce(p, y, bins=5) == pytest.approx(0.45)
    assert calibration.accuracy(p, y) == pytest.approx(3 / 5)


def test_adaptive_by_hand() -> None:
    p, y = binary([0.6, 0.7, 0.8, 0.9], [1, 0, 1, 1])
    # two rows each: 0.5 against 0.65, and 1 against 0.85
    assert calibration.adaptive_ece(p, y, bins=2) == pytest.approx((2 * 0.15 + 2 * 0.15) / 4)
    # more bins than rows: one row each
    assert calibration.adaptive_ece(p, y, bins=9) == pytest.approx((0.4 + 0.7 + 0.2 + 0.1) / 4)
    # all equal: one bin, so the one gap
    p, y = binary([0.75] * 4, [1, 1, 1, 0])
    assert calibration.adaptive_ece(p, y) == 0.0


def test_classwise_by_hand() -> None:
    p = torch.tensor([[0.2, 0.8, 0.0], [0.3, 0.6, 0.1]], dtype=torch.float64)
    y = torch.tensor([1, 0])
    # two bins; class 0: one bin, sums 1 - 0.5; class 1: 1 - 1.4; class 2: 0 - 0.1; N = 2
    assert calibration.classwise_ece(p, y, bins=2) == pytest.approx((0.5 + 0.4 + 0.1) / 2 / 3)


def test_brier_and_nll_by_hand() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([0, 2])
    assert calibration.brier(p, y) == pytest.approx((0.09 + 0.04 + 0.01) / 2)
    assert calibration.nll(p, y) == pytest.approx(-math.log(0.7) / 2)
    wrong = torch.tensor([1, 0])
    assert calibration.brier(p[1:], wrong[1:]) == 2.0
    tiny = torch.finfo(torch.float32).tiny
    assert calibration.nll(p[1:].float(), wrong[1:]) == pytest.approx(-math.log(tiny))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bins_close_on_the_right(dtype: torch.dtype) -> None:
    values = torch.tensor([i / 15 for i in range(1, 16)], dtype=dtype)
    assert [bin_of(float(value)) for value in values] == list(range(15))
    above = torch.nextafter(values.float(), torch.tensor(2.0))
    assert [bin_of(float(value)) for value in above] == [*range(1, 15), 14]
    assert bin_of(0.0) == 0
    assert bin_of(0.1 + 0.2, bins=10) == 2  # 0.30000000000000004
    # confidences on an edge: 0.6 = 9/15 belongs to the ninth bin
    p, y = binary([0.6, 0.6], [1, 0])
    assert reliability(p.to(dtype), y).counts.nonzero()[0].tolist() == [8]


def test_float32_confidence_above_one() -> None:
    p = torch.tensor([[1.0000001, 0.0], [0.0, 1.0000001]])
    assert float(p.max()) > 1
    y = torch.tensor([0, 1])
    diagram = reliability(p, y)
    assert diagram.counts[-1] == 2
    assert diagram.confidence[-1] == 1.0
    for name, metric in METRICS.items():
        assert metric(p, y) == pytest.approx(1.0 if name == "accuracy" else 0.0, abs=1e-6), name
    assert calibration.ece(p, 1 - y) == 1.0


@pytest.mark.parametrize("name", METRICS)
def test_metrics_take_arrays_and_every_float_dtype(name: str) -> None:
    z, y = draw()
    p = z.softmax(1)
    expected = METRICS[name](p, y)
    assert type(expected) is float
    assert METRICS[name](p.numpy(), y.numpy().astype(np.int32)) == expected
    assert METRICS[name](p.numpy().tolist(), y.tolist()) == pytest.approx(expected, abs=1e-5)
    assert METRICS[name](p.float(), y) == pytest.approx(expected, abs=1e-5)
    assert METRICS[name](p.half(), y) == pytest.approx(expected, abs=0.02)
    assert METRICS[name](p.clone().requires_grad_(), y) == expected


# --- against other implementations ---------------------------------------------------------------


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("seed", [0, 1])
def test_torchmetrics_agrees(bins: int, seed: int) -> None:
    z, y = draw(seed=seed)
    p = (z * 1.7).softmax(1)
    pairs: list[tuple[Literal["l1", "max"], Any]]
    pairs = [("l1", calibration.ece), ("max", calibration.mce)]
    for norm, metric in pairs:
        theirs = calibration_error(
            p, y, task="multiclass", n_bins=bins, norm=norm, num_classes=p.shape[1]
        )
        assert metric(p, y, bins=bins) == pytest.approx(float(theirs), abs=1e-5)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("seed", [0, 1])
def test_netcal_agrees(bins: int, seed: int) -> None:
    z, y = draw(seed=seed)  # 600 rows: every number of bins divides them
    p = (z * 1.7).softmax(1)
    arrays = p.numpy(), y.numpy()
    ours, theirs = calibration, netcal.metrics
    assert ours.ece(p, y, bins) == pytest.approx(theirs.ECE(bins).measure(*arrays))
    assert ours.mce(p, y, bins) == pytest.approx(theirs.MCE(bins).measure(*arrays))
    equal_mass = theirs.ECE(bins, equal_intervals=False).measure(*arrays)
    assert ours.adaptive_ece(p, y, bins) == pytest.approx(equal_mass)
    # netcal's ACE weighs all bins with members alike: the plain mean of the diagram's gaps
    diagram = reliability(p, y, bins)
    gaps = np.abs(diagram.accuracy - diagram.confidence)
    assert np.nanmean(gaps) == pytest.approx(theirs.ACE(bins).measure(*arrays))
    # one class against the rest is netcal's binary case
    members = [(y == k).long().numpy() for k in range(5)]
    classwise = [theirs.ECE(bins).measure(p[:, k].numpy(), members[k]) for k in range(5)]
    assert ours.classwise_ece(p, y, bins) == pytest.approx(np.mean(classwise))


def test_left_closed_oracles_differ_only_on_edges() -> None:
    p, y = binary([0.75, 0.8], [1, 0])
    # ours: (0.5, 0.75] and (0.75, 1]; both oracles put 0.75 and 0.8 into [0.75, 1)
    assert calibration.ece(p, y, bins=4) == pytest.approx((0.25 + 0.8) / 2)
    theirs = calibration_error(p, y, task="multiclass", n_bins=4, num_classes=2)
    assert float(theirs) == pytest.approx(abs(0.5 - 0.775))
    # netcal scores two-class rows by their positive class; confidences and hits are top-1
    left = netcal.metrics.ECE(4).measure(p.amax(1).numpy(), (1 - y).numpy())
    assert left == pytest.approx(abs(0.5 - 0.775))


# --- properties ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(predictions(), st.integers(1, 20))
def test_ranges_and_order(case: tuple[Tensor, Tensor], bins: int) -> None:
    p, y = case
    for name in ERRORS:
        assert 0.0 <= getattr(calibration, name)(p, y, bins) <= 1.0, name
    assert calibration.ece(p, y, bins) <= calibration.mce(p, y, bins) + 1e-12
    assert 0.0 <= calibration.accuracy(p, y) <= 1.0
    assert 0.0 <= calibration.brier(p, y) <= 2.0 + 1e-6
    assert calibration.nll(p, y) >= 0.0
    # merging all bins can only hide gaps
    merged = calibration.ece(p, y, 1)
    assert merged <= calibration.ece(p, y, bins) + 1e-12
    assert merged <= calibration.adaptive_ece(p, y, bins) + 1e-12


@settings(deadline=None, max_examples=40)
@given(predictions(), st.randoms(use_true_random=False))
def test_order_does_not_matter(case: tuple[Tensor, Tensor], random: Random) -> None:
    p, y = case
    rows = random.sample(range(len(p)), len(p))
    classes = torch.tensor(random.sample(range(p.shape[1]), p.shape[1]))
    moved = p[rows][:, classes], classes.argsort()[y[rows]]
    for name, metric in METRICS.items():
        if not (name != "brier" and (p == p.amax(1, keepdim=True)).sum() > len(p)):  # ties
            assert metric(*moved) == pytest.approx(metric(p, y), abs=1e-9), name


@settings(deadline=None, max_examples=40)
@given(predictions(), st.integers(1, 20))
def test_reliability_adds_up(case: tuple[Tensor, Tensor], bins: int) -> None:
    p, y = case
    diagram = reliability(p, y, bins)
    full = diagram.counts > 0
    weights = diagram.counts[full] / len(p)
    assert diagram.counts.sum() == len(p)
    assert (weights * diagram.accuracy[full]).sum() == pytest.approx(calibration.accuracy(p, y))
    gaps = np.abs(diagram.accuracy - diagram.confidence)[full]
    assert (weights * gaps).sum() == pytest.approx(calibration.ece(p, y, bins))
    assert gaps.max() == pytest.approx(calibration.mce(p, y, bins))
    assert (diagram.low[full] <= diagram.accuracy[full] + 1e-12).all()
    assert (diagram.accuracy[full] <= diagram.high[full] + 1e-12).all()
    for array in (diagram.accuracy, diagram.confidence, diagram.low, diagram.high):
        assert np.isnan(array[~full]).all()
    counts = np.bincount([diagram.bin_of(float(c)) for c in p.amax(1)], minlength=bins)
    assert (counts == diagram.counts).all()


def test_perfectly_calibrated() -> None:
    p, y = binary([0.75] * 4 + [0.9] * 10, [1, 1, 1, 0] + [1] * 9 + [0])
    for name in ERRORS:
        assert getattr(calibration, name)(p, y) == pytest.approx(0.0, abs=1e-12), name
    z, y = draw(rows=100_000)
    assert calibration.ece(z.softmax(1), y) < 0.01
    assert calibration.ece((3 * z).softmax(1), y) > 0.1


# --- the diagram ---------------------------------------------------------------------------------


def test_wilson_interval() -> None:
    # 8 of 10: the textbook interval, 0.490 to 0.943
    p, y = binary([0.9] * 10, [1] * 8 + [0] * 2)
    diagram = reliability(p, y, bins=1)
    assert (diagram.low[0], diagram.high[0]) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    p, y = binary([0.9] * 10, [1] * 10)
    diagram = reliability(p, y, bins=1)
    assert diagram.high[0] == pytest.approx(1.0)
    assert diagram.low[0] == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)


def test_reliability_survives_json() -> None:
    z, y = draw(rows=20)
    diagram = reliability(z.softmax(1), y)
    text = json.dumps(diagram.to_dict(), allow_nan=False)
    assert "null" in text
    back = Reliability.from_dict(json.loads(text))
    assert back.counts.dtype == np.int64
    for name in ("edges", "counts", "accuracy", "confidence", "low", "high"):
        np.testing.assert_array_equal(getattr(back, name), getattr(diagram, name))


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [None]},
        {"counts": "many"},
        {"edges": [0.0]},
        {"low": [0.1, 0.2]},
        {"colour": [0.1]},
        {"high": 0.5},
        {"high": ["x"]},
    ],
)
def test_from_dict_rejects(change: dict[str, object]) -> None:
    p, y = binary([0.9], [1])
    good = reliability(p, y, bins=1).to_dict()
    assert Reliability.from_dict(good).counts.tolist() == [1]
    with pytest.raises(InvalidInput):
        Reliability.from_dict({**good, **change})


@pytest.mark.parametrize("name", ["edges", "counts", "accuracy", "high"])
def test_from_dict_needs_every_list(name: str) -> None:
    p, y = binary([0.9], [1])
    data = reliability(p, y, bins=1).to_dict()
    del data[name]
    with pytest.raises(InvalidInput, match=name):
        Reliability.from_dict(data)


# --- what is rejected ----------------------------------------------------------------------------

GOOD = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
BAD = [
    (GOOD[0], [0], "shape"),
    (GOOD[:0], [], "shape"),
    (torch.ones(2, 1), [0, 0], "shape"),
    (torch.tensor([[1, 0], [0, 1]]), [0, 1], "float dtype"),
    (torch.tensor([[math.nan, 1.0]]), [0], "finite"),
    (torch.tensor([[math.inf, 0.0]]), [0], "finite"),
    (torch.tensor([[1.5, -0.5]]), [0], "at least 0"),
    (GOOD * 1.01, [0, 1], "sum to 1"),
    (GOOD, [0], "one per row"),
    (GOOD, [[0, 1]], "one per row"),
    (GOOD, [0, 2], r"lie in \[0, 2\)"),
    (GOOD, [-1, 1], r"lie in \[0, 2\)"),
    (GOOD, [0.0, 1.0], "integer dtype"),
    (GOOD, [True, False], "integer dtype"),
]


@pytest.mark.parametrize(("probs", "labels", "message"), BAD)
@pytest.mark.parametrize("name", METRICS)
def test_rejects(name: str, probs: Tensor, labels: list[int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        METRICS[name](probs, labels)


@pytest.mark.parametrize("bins", [0, -1, 2.0, True])
def test_rejects_bins(bins: int) -> None:
    for function in (*(getattr(calibration, name) for name in ERRORS), reliability):
        with pytest.raises(InvalidInput, match="bins"):
            function(GOOD, [0, 1], bins)
    with pytest.raises(InvalidInput, match="bins"):
        bin_of(0.5, bins)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan])
def test_rejects_confidence(confidence: float) -> None:
    with pytest.raises(InvalidInput, match="confidence"):
        bin_of(confidence)
