"""Recalibration against scikit-learn, against its own optimum, and on answers it never saw."""

from __future__ import annotations

import pytest
import torch
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.metrics import calibration, recalibration
from nls_core.metrics.recalibration import RECALIBRATIONS, crossfitted, halves
from tests.helpers.predictions import draw


def answers(count: int = 4000, sharp: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits (N, 5) that are `sharp` times too large, and labels drawn from the right ones."""
    z, labels = draw(count)
    return sharp * z.float(), labels


@pytest.mark.parametrize("name", RECALIBRATIONS)
def test_overconfident_answers_are_repaired(name: str) -> None:
    z, labels = answers()
    before = calibration.ece(z.softmax(1), labels)
    probs = crossfitted(name, z, labels)
    assert probs.sum(1).sub(1).abs().max() < 1e-6
    assert probs.min() >= 0
    assert before > 0.15
    assert calibration.ece(probs, labels) < 0.03
    assert calibration.nll(probs, labels) < calibration.nll(z.softmax(1), labels)


@pytest.mark.parametrize("name", RECALIBRATIONS)
def test_no_answer_is_judged_by_a_map_that_saw_it(name: str) -> None:
    z, labels = answers(400)
    first = halves(400)
    other = torch.where(first, labels, (labels + 1) % 5)  # of the second half only
    changed = crossfitted(name, z, other)
    torch.testing.assert_close(changed[~first], crossfitted(name, z, labels)[~first])
    assert not torch.allclose(changed[first], crossfitted(name, z, labels)[first], atol=1e-3)


def test_vector_scaling_is_at_its_optimum() -> None:
    z, labels = answers(500)
    fitted = recalibration.vector(z, labels)
    scale = torch.full((5,), 1 / 3, dtype=torch.float64)
    best = calibration.nll(fitted(z), labels)
    for k in range(5):
        for step in (0.02, -0.02):
            moved = z.double().clone()
            moved[:, k] += step * z.double()[:, k]
            assert calibration.nll(fitted(moved), labels) >= best - 1e-9
    assert best < calibration.nll((z * scale).softmax(1), labels)


def test_isotonic_steps_are_those_of_scikit_learn() -> None:
    z, labels = answers(300)
    p = z.double().softmax(1)
    raised = []
    for k in range(5):
        oracle = IsotonicRegression(out_of_bounds="clip")
        oracle.fit(p[:, k].numpy(), (labels == k).double().numpy())
        raised.append(torch.from_numpy(oracle.predict(p[:, k].numpy())))
    wanted = torch.stack(raised, 1).clamp(min=recalibration.TINY)
    wanted = wanted / wanted.sum(1, keepdim=True)
    torch.testing.assert_close(recalibration.isotonic(z, labels)(z), wanted, atol=1e-6, rtol=1e-6)


def test_a_temperature_of_the_margin_changes_no_answer() -> None:
    z, labels = answers(500)
    assert torch.equal(recalibration.margin(z, labels)(z).argmax(1), z.argmax(1))


def test_a_temperature_of_the_margin_repairs_what_one_temperature_cannot() -> None:
    """Easy answers, all given one target, are underconfident; hard ones are overconfident."""
    z, labels = draw(6000, seed=1, scale=3.0)
    gap = z.topk(2, 1).values
    given = z * 2 / (1 + (gap[:, :1] - gap[:, 1:]) / 3)
    one, each = (
        calibration.ece(crossfitted(name, given, labels), labels)
        for name in ("temperature", "margin")
    )
    assert each < one / 2


def test_renderings_of_an_object_are_on_one_side() -> None:
    first = halves(60, per=3).view(20, 3)
    assert torch.equal(first.all(1), first.any(1))
    assert int(first.all(1).sum()) == 10


@pytest.mark.parametrize(("count", "per"), [(1, 1), (3, 3), (10, 3)])
def test_what_has_no_halves_is_refused(count: int, per: int) -> None:
    with pytest.raises(InvalidInput, match=f"at least two objects, {per} of each; got {count}"):
        halves(count, per)
