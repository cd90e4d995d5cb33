"""Rank metrics against closed forms and scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from nls_core.errors import InvalidInput
from nls_core.metrics import selective


def scores(seed: int, count: int = 200, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probs = torch.randn(count, classes, generator=generator).mul(2).softmax(1)
    labels = torch.where(
        torch.rand(count, generator=generator) < probs.amax(1),
        probs.argmax(1),
        torch.randint(0, classes, (count,), generator=generator),
    )
    return probs, labels


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_scikit_learn_agrees(seed: int) -> None:
    probs, labels = scores(seed)
    right = (probs.argmax(1) == labels).numpy()
    wanted = roc_auc_score(right, probs.amax(1).numpy())
    assert selective.error_auroc(probs, labels) == pytest.approx(wanted, abs=1e-6)
    macro = precision_recall_fscore_support(
        labels.numpy(), probs.argmax(1).numpy(), average="macro", zero_division=0
    )
    for name, value in zip(("precision", "recall", "f1"), macro[:3], strict=True):
        assert selective.METRICS[name](probs, labels) == pytest.approx(value, abs=1e-6)


def test_aurc_by_hand() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    labels = torch.tensor([0, 1, 0, 1])  # right, wrong, right, wrong by falling confidence
    assert selective.aurc(probs, labels) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)


def test_a_perfect_order_beats_its_reverse() -> None:
    probs, labels = scores(3)
    right = probs.argmax(1) == labels
    sure = torch.where(right, 0.9, 0.6)
    order = torch.stack([sure, 1 - sure], 1)
    truth = (~right).long()
    assert selective.error_auroc(order, truth) == 1.0
    assert selective.aurc(order, truth) < selective.aurc(order.flip(1), 1 - truth) + 1e-12


def test_no_errors_leave_nothing_to_rank() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    assert math.isnan(selective.error_auroc(probs, torch.tensor([0, 1])))
    assert selective.aurc(probs, torch.tensor([0, 1])) == 0.0


def test_unknown_inputs_with_less_confidence_are_told_apart() -> None:
    known = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    unknown = torch.tensor([[0.5, 0.5], [0.6, 0.4]])
    assert selective.ood_auroc(known, unknown) == 1.0
    assert selective.ood_auroc(unknown, known) == 0.0
    assert selective.ood_auroc(known, known) == 0.5
    with pytest.raises(InvalidInput, match="2 and 0"):
        selective.ood_auroc(known, known[:0])


def test_the_norm_that_orders_best_is_chosen_on_the_other_half() -> None:
    """Logits that were scaled at random: only their direction tells who is right."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 5, generator=generator)
    labels = torch.multinomial((3 * z).softmax(1), 1, generator=generator)[:, 0]
    scaled = z * torch.rand(4000, 1, generator=generator).mul(4).exp()
    first = torch.arange(4000) % 2 == 0
    by_confidence = selective.aurc(scaled.softmax(1), labels)
    assert selective.normalized_aurc(scaled, labels, first) < 0.9 * by_confidence
    again = selective.normalized_confidence(7.5 * z + 2, 3)
    torch.testing.assert_close(again, selective.normalized_confidence(z, 3), atol=1e-6, rtol=0)


def test_where_norms_do_not_help_confidence_stays() -> None:
    probs, labels = scores(5, 2000, classes=2)  # with two classes every norm orders nothing
    first = torch.arange(2000) % 2 == 0
    halves = [selective.aurc(probs[part], labels[part]) for part in (first, ~first)]
    found = selective.normalized_aurc(probs.log(), labels, first)
    assert found == pytest.approx(sum(halves) / 2)
