"""The bootstrap over images: draws that all runs share."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=4)
def draws(count: int, resamples: int, seed: int = 0, per: int = 1) -> Tensor:
    """(resamples, count) indices of images, drawn with replacement: the same for all who ask.

    What is measured on the same draws can be compared in pairs. Do not write to it. With `per`,
    so many images in a row belong together, and are drawn together.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(count // per, (resamples, count // per), generator=generator)
    return (groups[..., None] * per + torch.arange(per)).flatten(1)
