"""What chance and bins make of a calibration error: floor, debiased and smooth ECE."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.metrics import calibration
from nls_core.metrics.fair_calibration import (
    FAIR,
    debiased_ece,
    ece_floor,
    figures,
    smooth_ece,
)
from tests.helpers.predictions import draw

quick = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)


def constant(confidence: float, rows: int, right: int) -> tuple[Tensor, Tensor]:
    """Two-class rows that all have one confidence, the first `right` of them right."""
    top = torch.full((rows,), confidence, dtype=torch.float64)
    return torch.stack([top, 1 - top], 1), (torch.arange(rows) >= right).long()


def reference_smooth(confidence: Tensor, hit: Tensor, sigma: float) -> float:
    """smECE_σ as the paper writes it: every reflected kernel at every t, by the midpoint rule."""
    t = (torch.arange(4000, dtype=torch.float64)[:, None] + 0.5) / 4000

    def gauss(x: Tensor) -> Tensor:
        return (-((x / sigma) ** 2) / 2).exp() / (sigma * math.sqrt(2 * math.pi))

    kernel = sum(
        gauss(t - confidence + 2 * k) + gauss(t + confidence + 2 * k) for k in (-2, -1, 0, 1, 2)
    )
    assert isinstance(kernel, Tensor)
    return float((kernel @ (hit - confidence)).abs().mean() / len(hit))


# ---------------------------------------------------------------- the floor


@pytest.mark.parametrize(("confidence", "rows"), [(0.7, 500), (0.9, 2000)])
def test_the_floor_of_one_confidence_is_a_binomials_deviation(confidence: float, rows: int) -> None:
    probs, labels = constant(confidence, rows, 0)
    expected = math.sqrt(2 * confidence * (1 - confidence) / (math.pi * rows))
    assert ece_floor(probs, labels, draws=2000) == pytest.approx(expected, rel=0.06)


def test_the_floor_is_the_ece_of_calibrated_answers() -> None:
    probs = draw(rows=400)[0].softmax(1)
    found = [
        calibration.ece(
            probs,
            torch.multinomial(probs, 1, generator=torch.Generator().manual_seed(seed))[:, 0],
        )
        for seed in range(300)
    ]
    error = np.std(found) / math.sqrt(300)
    assert ece_floor(probs, draw(rows=400)[1], draws=1000) == pytest.approx(
        np.mean(found), abs=4 * float(error)
    )


@quick
@given(SEEDS, st.integers(2, 8))
def test_the_floor_asks_nothing_of_the_labels_and_falls_with_more_images(seed: int, k: int) -> None:
    z, labels = draw(rows=80, classes=k, seed=seed)
    probs = z.softmax(1)
    floor = ece_floor(probs, labels)
    assert floor == ece_floor(probs, (labels + 1) % k)
    assert 0 <= floor <= 1
    assert ece_floor(probs.repeat(16, 1), labels.repeat(16)) < floor


def test_another_seed_draws_other_labels() -> None:
    z, labels = draw()
    one, two = (ece_floor(z.softmax(1), labels, seed=seed) for seed in (0, 1))
    assert one != two
    assert one == pytest.approx(two, rel=0.1)


# ---------------------------------------------------------------- debiased


def test_the_bias_is_that_of_drawn_accuracies() -> None:
    """The closed form against draws, as the published code has them."""
    z, labels = draw(rows=300, scale=3.0)
    probs = (z * 1.5).softmax(1)
    diagram = calibration.reliability(probs, labels)
    shares = torch.from_numpy(diagram.counts / diagram.counts.sum())
    full = torch.from_numpy(diagram.counts) > 0
    rate, confidence = (
        torch.from_numpy(np.nan_to_num(each)) for each in (diagram.accuracy, diagram.confidence)
    )
    sigma = (rate * (1 - rate) / torch.from_numpy(diagram.counts).clamp(min=1)).sqrt()
    generator = torch.Generator().manual_seed(0)
    drawn = rate + sigma * torch.randn(20_000, 15, generator=generator, dtype=torch.float64)
    again = ((drawn - confidence).abs() * shares * full).sum(1).mean()
    expected = 2 * calibration.ece(probs, labels) - float(again)
    assert debiased_ece(probs, labels) == pytest.approx(expected, abs=2e-4)


def test_of_calibrated_answers_less_is_left_than_of_the_plain_ece() -> None:
    probs = draw(rows=400)[0].softmax(1)
    plain, less = [], []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.multinomial(probs, 1, generator=generator)[:, 0]
        plain.append(calibration.ece(probs, labels))
        less.append(debiased_ece(probs, labels))
    # 2 - √2 of it, were every bin's accuracy normal
    assert np.mean(less) / np.mean(plain) == pytest.approx(2 - math.sqrt(2), abs=0.06)


@quick
@given(SEEDS)
def test_far_from_calibration_nothing_is_taken_away(seed: int) -> None:
    probs, labels = constant(0.95, 1000, 500)
    assert debiased_ece(probs, labels) == pytest.approx(0.45, abs=1e-9)
    z, labels = draw(rows=200, seed=seed)
    assert debiased_ece(z.softmax(1), labels) <= calibration.ece(z.softmax(1), labels) + 1e-12


# ---------------------------------------------------------------- smooth


@quick
@given(SEEDS, st.sampled_from([0.3, 1.0, 2.0]), st.sampled_from([60, 300]))
def test_smooth_ece_is_the_fixed_point_of_the_papers_integral(
    seed: int, sharper: float, rows: int
) -> None:
    z, labels = draw(rows=rows, seed=seed)
    confidence, hit = calibration.top1((sharper * z).softmax(1), labels)
    found = smooth_ece((sharper * z).softmax(1), labels)
    assert reference_smooth(confidence, hit, found) == pytest.approx(found, abs=5e-4)


def test_confidences_at_the_ends_are_reflected() -> None:
    """Half the answers at confidence 1, a tenth of them wrong: |bias| and no more, 0.05."""
    sure, _ = constant(1.0, 500, 0)
    half, labels = constant(0.5, 500, 250)
    wrong = (torch.arange(500) % 10 == 0).long()
    found = smooth_ece(torch.cat([sure, half]), torch.cat([wrong, labels]))
    assert found == pytest.approx(0.05, abs=1e-3)


def test_smooth_ece_at_its_ends() -> None:
    assert smooth_ece(*constant(1.0, 50, 50)) == pytest.approx(0, abs=1e-9)
    assert smooth_ece(*constant(1.0, 50, 0)) == pytest.approx(1, abs=1e-9)
    assert smooth_ece(*constant(0.8, 100, 30)) == pytest.approx(0.5, abs=1e-3)


def test_smooth_ece_does_not_jump_where_bins_do() -> None:
    """Answers on both sides of a bin's edge: a tiny move puts them into one bin."""
    edge = 12 / 15
    left, right = constant(edge - 1e-4, 100, 100), constant(edge + 1e-4, 100, 60)
    moved = constant(edge + 1e-5, 100, 100)
    both = [
        (torch.cat([first[0], right[0]]), torch.cat([first[1], right[1]]))
        for first in (left, moved)
    ]
    ece = [calibration.ece(probs, labels) for probs, labels in both]
    smooth = [smooth_ece(probs, labels) for probs, labels in both]
    assert abs(ece[0] - ece[1]) > 0.1
    assert abs(smooth[0] - smooth[1]) < 1e-3


# ---------------------------------------------------------------- all of them


def test_figures_are_all_of_them() -> None:
    z, labels = draw()
    found = figures(z.softmax(1).float(), labels)
    assert found == {n: metric(z.softmax(1).float(), labels) for n, metric in FAIR.items()}
    assert all(isinstance(value, float) for value in found.values())


@pytest.mark.parametrize("name", FAIR)
def test_refusals(name: str) -> None:
    z, labels = draw(rows=10)
    with pytest.raises(InvalidInput, match="probs must be at least 0"):
        FAIR[name](z, labels)
    with pytest.raises(InvalidInput, match="one per row"):
        FAIR[name](z.softmax(1), labels[:3])
