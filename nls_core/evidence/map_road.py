"""ROAD: remove and debias (Rong et al. 2022, arXiv 2202.00449), a measure of maps without gaps.

Pixels that are taken out by a constant leave edges that say where the map lay. ROAD fills them
from their neighbours, so that what goes is what they showed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nls_core.evidence.map_faithfulness import check_batch, confidence
from nls_core.metrics.map_similarity import places, to_pixels

SHARES = (0.2, 0.4, 0.6, 0.8)  # of the pixels that are taken out
NOISE = 0.01  # of what is filled in, in pixel units: the paper's, so that no filling is too smooth
# of the eight neighbours: beside 1/6, across 1/12
_WEIGHTS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
_CLOSE = 1e-4  # of the right-hand side, that may be left of a residual
_COARSEST = 16  # pixels an edge, below which no coarser grid helps
_TINY = torch.finfo(torch.float32).tiny


def filled(x: Tensor, kept: Tensor) -> Tensor:
    """Pixels that are not kept become the weighted mean of their eight neighbours, all at once.

    The linear system is symmetric and positive definite; it is solved by conjugate gradients, of
    large images from what half the resolution gives.

    Args:
        x: (B, C, H, W).
        kept: (B, H, W) bool, at least one of each image.

    Returns:
        (B, C, H, W) float32, within 0.004 of the solution: less than the noise that ROAD adds.
    """
    images, out = x.float(), ~kept[:, None]
    total = _neighbours(torch.ones_like(images[:1, :1]))  # less than 1 on the border
    known = torch.where(out, 0.0, images)
    wanted = torch.where(out, _neighbours(known), 0.0)

    def system(v: Tensor) -> Tensor:
        return torch.where(out, total * v - _neighbours(v), 0.0)

    found = torch.where(out, _guess(known, kept), 0.0)
    rest = way = wanted - system(found)
    size, close = _dot(rest, rest), _CLOSE**2 * _dot(wanted, wanted)
    for _ in range(8 * (x.shape[2] + x.shape[3])):
        if bool((size <= close).all()):
            break
        ahead = system(way)
        step = size / _dot(way, ahead).clamp_min(_TINY)
        found, rest = found + step * way, rest - step * ahead
        before, size = size, _dot(rest, rest)
        way = rest + size / before.clamp_min(_TINY) * way
    return known + found


def _guess(known: Tensor, kept: Tensor) -> Tensor:
    """What to begin with: nothing on a small grid, else what is filled in at half its size."""
    height, width = known.shape[2:]
    if min(height, width) < _COARSEST:
        return torch.zeros_like(known)
    parts = F.avg_pool2d(kept[:, None].float(), 2, ceil_mode=True)
    small = F.avg_pool2d(known, 2, ceil_mode=True) / parts.clamp_min(_TINY)
    coarse = filled(small, parts[:, 0] > 0)
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def _neighbours(v: Tensor) -> Tensor:
    """The weighted sum of each pixel's neighbours; there are none beyond the border."""
    channels = v.shape[1]
    kernel = torch.tensor(_WEIGHTS, dtype=v.dtype, device=v.device).expand(channels, 1, 3, 3)
    return F.conv2d(v, kernel, padding=1, groups=channels)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(B, C, 1, 1)."""
    return (a * b).sum((2, 3), keepdim=True)


def road(model: nn.Module, x: Tensor, y: Tensor, maps: Tensor, *, seed: int = 0) -> Tensor:
    """(B,) float64 in [-0.5, 0.5]: half of what the confidence loses less without the salient.

    The confidence in class y without the least salient pixels, less that without the most salient,
    over 2; the mean over `SHARES`. Higher is better, and a map that says nothing has 0.

    Args:
        model: from x to logits (B, K).
        x: (B, C, H, W) in [0, 1].
        y: (B,) explained classes.
        maps: (B, h, w), finite and ≥ 0; equally salient pixels go in reading order.
        seed: of the noise, which is the same for all images.

    Raises:
        InvalidInput: maps are not as above.
    """
    check_batch(x, y, maps)
    height, width = x.shape[2:]
    place = places(to_pixels(maps, height, width).flatten(1)).view(-1, height, width)
    generator = torch.Generator().manual_seed(seed)
    noise = NOISE * torch.randn(x.shape[1:], generator=generator).to(x.device)
    gaps = []
    for share in SHARES:
        count = round(share * height * width)
        first, last = (
            confidence(model, _without(x, kept, noise), y)
            for kept in (place >= count, place < height * width - count)
        )
        gaps.append((last - first) / 2)
    return torch.stack(gaps).mean(0)


def _without(x: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
    whole = filled(x, kept) + torch.where(kept[:, None], 0.0, noise)
    return whole.clamp(0, 1).to(x.dtype)
