"""Prediction sets: they cover what they promise, and hold what their definitions say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.metrics import conformal
from tests.helpers.predictions import draw


def answers(count: int) -> tuple[Tensor, Tensor]:
    """Probabilities (N, 6), far too sure, and labels."""
    z, labels = draw(count, classes=6, scale=1.0)
    return (2.5 * z).softmax(1), labels


@pytest.mark.parametrize("miss", [0.05, 0.2])
@pytest.mark.parametrize("name", conformal.SCORES)
def test_sets_cover_as_often_as_asked_however_sure_the_model_is(name: str, miss: float) -> None:
    found = conformal.crossfitted(name, *answers(20_000), miss=miss)
    assert found.coverage == pytest.approx(1 - miss, abs=0.01)
    assert 1 < found.size < 6


def test_the_limit_is_the_quantile_that_a_new_score_stays_below() -> None:
    scores = torch.arange(1.0, 20.0)  # 19 of them: a 20th lies above the largest once in twenty
    assert conformal.limit(scores, 0.05) == 19
    assert conformal.limit(scores, 0.5) == 10
    assert conformal.limit(scores[:10], 0.05) == math.inf


def test_scores_by_hand() -> None:
    probs = torch.tensor([[0.2, 0.5, 0.3]])
    torch.testing.assert_close(conformal.thr(probs), torch.tensor([[0.8, 0.5, 0.7]]).double())
    drawn = (0.5 - float(conformal.aps(probs)[0, 1])) / 0.5
    assert 0 <= drawn < 1
    wanted = torch.tensor([[1.0 - 0.2 * drawn, 0.5 - 0.5 * drawn, 0.8 - 0.3 * drawn]]).double()
    torch.testing.assert_close(conformal.aps(probs), wanted, atol=1e-6, rtol=0)
    penalty = torch.tensor([[2.0, 0.0, 1.0]]).double() * conformal.PENALTY
    torch.testing.assert_close(conformal.raps(probs), wanted + penalty, atol=1e-6, rtol=0)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.floats(-1, 2))
def test_a_set_is_never_empty_and_grows_with_its_limit(row: list[float], largest: float) -> None:
    scores = torch.tensor([row], dtype=torch.float64)
    small, large = (conformal.sets(scores, each) for each in (largest, largest + 0.3))
    assert bool(small.any())
    assert bool((small <= large).all())


def test_answers_are_withheld_until_few_are_wrong() -> None:
    confidence = torch.tensor([0.9, 0.8, 0.7, 0.7, 0.6, 0.55])
    probs = torch.stack([confidence, 1 - confidence], 1)
    labels = torch.tensor([0, 0, 0, 1, 0, 1])  # wrong: one of those at 0.7, and the last
    below = [conformal.abstain_below(probs, labels, share) for share in (0.0, 0.2, 0.3, 1.0)]
    assert below == pytest.approx([0.8, 0.6, 0.6, 0.55])
    assert conformal.abstain_below(probs, 1 - labels, 0.0) > 1  # the most confident is wrong


@pytest.mark.parametrize(("count", "miss"), [(0, 0.1), (5, 0.0), (5, 1.0)])
def test_a_limit_of_nothing_is_refused(count: int, miss: float) -> None:
    with pytest.raises(InvalidInput, match=rf"scores and a share in \(0, 1\); got {count}"):
        conformal.limit(torch.rand(count), miss)


def test_an_entry_judges_a_new_answer() -> None:
    probs, labels = answers(2000)
    limits = conformal.entry(probs, labels)
    conformal.check(limits)
    found = [conformal.judge(limits, row) for row in probs.tolist()]
    inside = sum(
        label in use.classes for use, label in zip(found, labels.tolist(), strict=True) if use
    )
    assert inside / 2000 == pytest.approx(0.95, abs=0.002)
    kept = [use is not None and not use.withheld for use in found]
    wrong = (probs.argmax(1) != labels)[torch.tensor(kept)]
    assert len(wrong) == 0 or float(wrong.double().mean()) <= 0.05
    assert conformal.judge({}, [0.5, 0.5]) is None


def test_a_set_has_the_likeliest_first() -> None:
    limits = {"miss": 0.05, "inside": 0.75, "abstain_below": 0.66}
    use = conformal.judge(limits, [0.25, 0.1, 0.65])
    assert use == conformal.Use((2, 0), True, 0.66, 0.05)
    none = conformal.judge(limits | {"inside": 0.1, "abstain_below": 0.6}, [0.4, 0.6])
    assert none == conformal.Use((1,), False, 0.6, 0.05)


@pytest.mark.parametrize(
    "limits", [{"miss": 0.05}, {"miss": 0.05, "inside": "all", "abstain_below": 0.5}, {"x": 1}]
)
def test_damaged_limits_are_refused(limits: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected a number in \[0, 1\] as"):
        conformal.check(limits)
