"""Comparisons of maps against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import entropy as shannon
from scipy.stats import spearmanr
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.metrics.map_similarity import (
    centred,
    correlation,
    cosine,
    entropy,
    norm,
    places,
    rank_correlation,
    to_pixels,
    top_overlap,
)

# few levels, so that cells are often equal, and zero maps occur
MAPS = hnp.arrays(np.float32, (2, 1, 4, 5), elements=st.sampled_from([0, 0.25, 0.5, 1, 7]))


def row(*values: float) -> Tensor:
    """One map of one row, (1, 1, n)."""
    return torch.tensor([[values]], dtype=torch.float32)


@settings(max_examples=60, deadline=None)
@given(MAPS, st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**30]))
def test_ranges_symmetry_and_scale(pair: np.ndarray, scale: float) -> None:
    a, b = torch.from_numpy(pair)
    for compare, low in ((cosine, 0.0), (top_overlap, 0.0), (rank_correlation, -1.0)):
        value = compare(a, b)
        assert value.shape == (1,)
        assert value.dtype == torch.float64
        assert low <= value.item() <= 1.0
        assert compare(b, a).item() == pytest.approx(value.item(), abs=1e-12)
        assert compare(scale * a, b).item() == pytest.approx(value.item(), abs=1e-12)
        assert compare(a, scale * a).item() == pytest.approx(1.0, abs=1e-12)


def test_upsampling_by_hand() -> None:
    assert to_pixels(row(0, 1), 1, 4).tolist() == [[[0, 0.25, 0.75, 1]]]
    assert to_pixels(row(0, 1), 2, 2).tolist() == [[[0, 1], [0, 1]]]
    maps = torch.rand(3, 4, 5)
    assert torch.equal(to_pixels(maps, 4, 5), maps.double())


@pytest.mark.parametrize(
    "maps", [torch.ones(4, 4), torch.ones(0, 4, 4), row(1, -1), row(1, torch.nan), row(torch.inf)]
)
def test_upsampling_refuses(maps: Tensor) -> None:
    with pytest.raises(InvalidInput, match="finite maps"):
        to_pixels(maps, 8, 8)


def test_places_in_reading_order() -> None:
    values = torch.tensor([[1.0, 3.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert places(values).tolist() == [[3, 0, 4, 2, 1], [0, 1, 2, 3, 4]]


def test_norm_by_hand() -> None:
    assert norm(torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[1e-30, 0.0], [0.0, 0.0]]])).tolist() == [
        5.0,
        pytest.approx(1e-30),  # its square is no float32
    ]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (row(3, 4), row(4, 3), 24 / 25),
        (row(3, 0), row(0, 3), 0.0),
        (row(1, 0), row(1, 1), 0.5**0.5),
        (row(0, 0), row(0, 0), 1.0),
        (row(0, 0), row(0, 2), 0.0),
        (row(0, 2), row(0, 0), 0.0),
    ],
)
def test_cosine_by_hand(first: Tensor, second: Tensor, expected: float) -> None:
    assert cosine(first, second).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (row(9, 8, *[1] * 8), row(1, 8, 9, *[1] * 7), 1 / 3),  # {0, 1} and {1, 2}
        (row(9, 8, *[1] * 8), row(*[1] * 8, 8, 9), 0.0),
        (row(*[1] * 10), row(9, 8, *[0] * 8), 1.0),  # equal ones in reading order
        (row(9, *[0] * 9), row(9, 8, *[0] * 8), 1 / 2),  # a zero is never among the top
        (row(*[0] * 10), row(*[0] * 10), 1.0),
        (row(*[0] * 10), row(9, 8, *[0] * 8), 0.0),
        (row(1, 2), row(2, 3), 1.0),  # at least one pixel
        (row(1, 2), row(3, 2), 0.0),
    ],
)
def test_top_overlap_by_hand(first: Tensor, second: Tensor, expected: float) -> None:
    assert top_overlap(first, second).item() == pytest.approx(expected)


def test_top_overlap_of_another_share() -> None:
    first, second = row(9, 8, 1, 2), row(9, 1, 8, 2)
    assert top_overlap(first, second, 0.5).item() == pytest.approx(1 / 3)
    assert top_overlap(first, second, 1.0).item() == 1.0
    for share in (0.0, 1.1):
        with pytest.raises(InvalidInput, match="share"):
            top_overlap(first, second, share)


@settings(max_examples=60, deadline=None)
@given(MAPS)
def test_scipy_agrees_on_ranks(pair: np.ndarray) -> None:
    a, b = pair
    assume(a.min() < a.max() and b.min() < b.max())
    got = rank_correlation(torch.from_numpy(a), torch.from_numpy(b)).item()
    assert got == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-12)


def test_rank_correlation_by_hand() -> None:
    rising = row(0, 1, 2, 3)
    for other, expected in (
        (row(0, 1, 10, 1e9), 1.0),
        (row(9, 8, 7, 0), -1.0),
        (row(0, 1, 3, 2), 0.8),  # 1 - 6·(1 + 1) / (4·15)
        (row(5, 5, 5, 5), 0.0),
    ):
        assert rank_correlation(rising, other).item() == pytest.approx(expected)
    assert rank_correlation(row(0, 0), row(5, 5)).item() == 1.0


@settings(max_examples=60, deadline=None)
@given(MAPS)
def test_numpy_agrees_on_correlation(pair: np.ndarray) -> None:
    a, b = pair
    got = correlation(torch.from_numpy(a), torch.from_numpy(b)).item()
    uniform = a.min() == a.max() or b.min() == b.max()
    wanted = 0.0 if uniform else np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert got == pytest.approx(wanted, abs=1e-9)


def test_a_uniform_part_changes_no_correlation() -> None:
    a, b = row(0, 1, 2, 7), row(1, 1, 0, 3)
    assert correlation(a + 50, b).item() == pytest.approx(correlation(a, b).item())
    assert cosine(a + 50, b + 50).item() > 0.99  # where a cosine sees little else
    almost = row(0.1, 0.1, 0.1, 0.1) * (1 + 1e-8 * row(1, -1, 1, 0))  # rounding, no map
    assert correlation(almost, b).item() == 0.0
    assert centred(almost).abs().max() == 0.0


@settings(max_examples=60, deadline=None)
@given(MAPS)
def test_scipy_agrees_on_entropy(pair: np.ndarray) -> None:
    got = entropy(torch.from_numpy(pair[0])).item()
    cells = pair[0].ravel().astype(float)
    wanted = shannon(cells) / np.log(cells.size) if cells.any() else 1.0
    assert got == pytest.approx(wanted, abs=1e-9)


def test_entropy_of_uniform_and_single_cells() -> None:
    found = [entropy(each).item() for each in (row(3, 3, 3), row(0, 5, 0), row(0, 0), row(4))]
    assert found == pytest.approx([1.0, 0.0, 1.0, 1.0])


def test_every_row_is_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 5, 3, 3, generator=generator)
    a[1], b[2] = 0, 0
    for compare in (cosine, correlation, top_overlap, rank_correlation):
        alone = torch.cat([compare(a[i : i + 1], b[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(compare(a, b), alone)
        assert len(alone.unique()) > 1


@pytest.mark.parametrize("compare", [cosine, correlation, top_overlap, rank_correlation])
def test_shapes_must_agree(compare) -> None:  # type: ignore[no-untyped-def]
    for first, second in ((row(1, 2), row(1, 2, 3)), (torch.ones(2, 2), torch.ones(2, 2))):
        with pytest.raises(InvalidInput, match="one shape"):
            compare(first, second)
