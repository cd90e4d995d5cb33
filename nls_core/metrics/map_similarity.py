"""How alike two activation maps are: by cosine, by their most salient pixels, and by ranks.

And how uniform one is: two uniform maps are alike whatever they explain.

Maps are (B, h, w), finite and ≥ 0, in any unit: no measure here changes with a map's scale.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nls_core.errors import InvalidInput

TOP = 0.2  # share of the pixels that `top_overlap` compares


def to_pixels(maps: Tensor, height: int, width: int) -> Tensor:
    """Upsample maps (B, h, w) bilinearly to (B, height, width) float64.

    Raises:
        InvalidInput: the maps are not finite, ≥ 0 and of that shape.
    """
    if maps.ndim != 3 or not maps.numel() or not bool((maps.isfinite() & (maps >= 0)).all()):
        raise InvalidInput(f"expected finite maps (B, h, w) ≥ 0; got {tuple(maps.shape)} or values")
    cells = maps.double()[:, None]
    return F.interpolate(cells, (height, width), mode="bilinear", align_corners=False)[:, 0]


def places(values: Tensor) -> Tensor:
    """Places of the values (B, n) in their row, from 0 for the largest; equal ones in order."""
    order = values.argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1)


def norm(maps: Tensor) -> Tensor:
    """(B,) float64: the Frobenius norm of each map."""
    length: Tensor = torch.linalg.vector_norm(maps, dim=(1, 2), dtype=torch.float64)
    return length


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """(B,) float64 in [0, 1]: the cosine of two sets of maps (B, h, w) ≥ 0; 1 is no drift.

    Where both maps are zero it is 1, where only one is it is 0.

    Raises:
        InvalidInput: the shapes differ.
    """
    _same_shape(first, second)
    lengths = norm(first), norm(second)
    unit = [
        maps.double().flatten(1) / torch.where(length > 0, length, 1.0)[:, None]
        for maps, length in zip((first, second), lengths, strict=True)
    ]
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    return torch.where(both_zero, 1.0, (unit[0] * unit[1]).sum(1).clamp(0, 1))


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """(B,) float64 in [-1, 1]: the cosine of two sets of maps (B, h, w), each less its mean.

    What all maps have in common with a uniform one is taken out, so a uniform map has 0 with any
    (Pearson's correlation of the cells, which says nothing there).

    Raises:
        InvalidInput: the shapes differ.
    """
    _same_shape(first, second)
    a, b = (centred(maps).flatten(1) for maps in (first, second))
    lengths = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(lengths > 0, (a * b).sum(1) / lengths, 0.0).clamp(-1, 1)


def centred(maps: Tensor) -> Tensor:
    """(B, h, w) float64: maps less their means; 0 where only rounding tells cells apart."""
    exact = maps.double()
    rest = exact - exact.mean((1, 2), keepdim=True)
    noise = 1e-6 * exact.abs().amax((1, 2), keepdim=True)  # maps come in float32
    return torch.where(rest.abs().amax((1, 2), keepdim=True) > noise, rest, 0.0)


def entropy(maps: Tensor) -> Tensor:
    """(B,) float64 in [0, 1]: Shannon's entropy of maps (B, h, w) ≥ 0, over a uniform one's.

    1 is uniform, as a map of zeros is; 0 has all in one cell.
    """
    cells = maps.double().flatten(1)
    total = cells.sum(1, keepdim=True)
    count = cells.shape[1]
    shares = torch.where(total > 0, cells / total, 1 / count)
    bits = -torch.xlogy(shares, shares).sum(1)
    return (bits / math.log(count)).clamp(0, 1) if count > 1 else bits + 1


def top_overlap(first: Tensor, second: Tensor, share: float = TOP) -> Tensor:
    """(B,) float64 in [0, 1]: the intersection over union of the most salient pixels of two maps.

    Args:
        first, second: (B, H, W) ≥ 0, upsampled to pixels.
        share: of the pixels, in (0, 1]; equal ones count in reading order, those of value 0
            never. So two zero maps have 1, a zero map and another 0.

    Raises:
        InvalidInput: the shapes differ, or the share is not as above.
    """
    _same_shape(first, second)
    if not 0.0 < share <= 1.0:
        raise InvalidInput(f"share must lie in (0, 1]; got {share!r}")
    a, b = (_top(maps.flatten(1), share) for maps in (first, second))
    union = (a | b).sum(1).double()
    return torch.where(union > 0, (a & b).sum(1) / union.clamp_min(1), 1.0)


def _top(values: Tensor, share: float) -> Tensor:
    """(B, n) bool."""
    count = max(round(share * values.shape[1]), 1)
    return (places(values) < count) & (values > 0)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """(B,) float64 in [-1, 1]: Spearman's correlation of two sets of maps (B, h, w).

    Equal cells share their mean rank. A constant map has no ranks: 1 where both are constant, 0
    where one is.

    Raises:
        InvalidInput: the shapes differ.
    """
    _same_shape(first, second)
    a, b = (_centred_ranks(maps.flatten(1)) for maps in (first, second))
    lengths = a.norm(dim=1) * b.norm(dim=1)
    both_constant = (a == 0).all(1) & (b == 0).all(1)
    value = (a * b).sum(1) / torch.where(lengths > 0, lengths, 1.0)
    return torch.where(both_constant, 1.0, value.clamp(-1, 1))


def _centred_ranks(values: Tensor) -> Tensor:
    """(B, n) mean ranks of each row, less their mean."""
    values = values.contiguous()
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to - values.shape[1]).double() / 2


def _same_shape(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.ndim != 3:
        raise InvalidInput(
            "expected two sets of maps (B, h, w) of one shape; "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
