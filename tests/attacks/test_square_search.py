"""Square: its queries, its proposals, and a linear model whose answer is known."""

from __future__ import annotations

import pytest
import torch

from nls_core.attacks import ATTACKS, objectives, square_search
from tests.helpers.attacks import MODEL, Counting, Linear, images, predictions


@pytest.mark.parametrize("targeted", [False, True])
def test_square_never_makes_it_worse(targeted: bool) -> None:
    x = images(6)
    y = (predictions(MODEL, x) + 3 * targeted) % 10
    sign = -1 if targeted else 1
    out = ATTACKS["square"](MODEL, x, y, epsilon=0.02, queries=30, targeted=targeted)
    with torch.no_grad():
        before, after = (sign * objectives.margin(MODEL(part), y) for part in (x, out))
    assert bool((after >= before - 1e-6).all())
    assert bool((after > before).any())


def test_square_stops_each_sample_at_its_first_success() -> None:
    x = images(4)
    y = predictions(MODEL, x)
    y[0] = (y[0] + 1) % 10
    epsilon = torch.tensor([0.5, 1.0, 1.0, 0.0])
    model = Counting(MODEL)
    out = ATTACKS["square"](model, x, y, epsilon=epsilon, queries=60)
    assert torch.equal(out[0], x[0])
    assert model.batches[:2] == [4, 3]
    assert len(model.batches) == 60  # the last sample cannot succeed
    hit = predictions(MODEL, out) != y
    assert model.batches[-1] == int((~hit).sum()) < 3


@pytest.mark.parametrize(("more", "expected"), [({"steps": 1}, 50), ({"queries": 7}, 7)])
def test_square_makes_as_many_queries_as_told(more: dict[str, int], expected: int) -> None:
    x = images(1)
    model = Counting(MODEL)
    ATTACKS["square"](model, x, predictions(MODEL, x), epsilon=0.0, **more)
    assert len(model.batches) == expected


def test_square_changes_stripes_then_shrinking_squares() -> None:
    x, generator = images(64, 3), torch.Generator().manual_seed(0)
    stripes = square_search.proposal(x, None, generator)
    assert stripes.shape == (64, 3, 1, 28)
    assert set(stripes.unique().tolist()) == {-1.0, 1.0}
    sides = []
    for share in (0.0005, 0.01, 0.3, 0.9):
        change = square_search.proposal(x, share, generator)  # (64, 3, 28, 28)
        inside = change.abs()
        assert set(inside.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(inside[:, 0], inside[:, 2])  # one place for all channels
        rows, columns = inside[:, 0].amax(2).sum(1), inside[:, 0].amax(1).sum(1)  # (64,) each
        assert torch.equal(rows, columns)
        assert torch.equal(inside[:, 0].sum((1, 2)), rows * columns)
        assert len(rows.unique()) == 1
        sides.append(int(rows[0]))
        colours = change.sum((2, 3)) / (rows * columns)[:, None]  # (64, 3): one sign a channel
        assert set(colours.unique().tolist()) == {-1.0, 1.0}
    assert sides == [25, 13, 3, 1]  # round(28·sqrt(0.8 / 2^halvings)) for 0, 2, 6, 9 halvings
    # places differ, and reach every edge
    spots = square_search.proposal(x, 0.01, generator).abs().amax((0, 1))
    assert bool(spots.amax(0).all() and spots.amax(1).all())  # every column, every row


def test_square_equals_brute_force_on_a_linear_model() -> None:
    """The best point of the ball is a corner; random search must come near its margin."""
    model, x = Linear(classes=2), torch.full((1, 1, 4, 4), 0.5)
    y = predictions(model, x)
    weight = model.weight.detach()
    direction = (weight[1 - int(y)] - weight[int(y)]).view(1, 1, 4, 4)
    with torch.no_grad():
        clean = float(objectives.margin(model(x), y))
    epsilon = 0.9 * -clean / float(direction.abs().sum())  # 90 % of what a success needs
    assert 0 < epsilon < 0.5
    out = ATTACKS["square"](model, x, y, epsilon=epsilon, queries=400)
    with torch.no_grad():
        gained = float(objectives.margin(model(out), y)) - clean
    assert gained == pytest.approx(-0.9 * clean, rel=0.02)
