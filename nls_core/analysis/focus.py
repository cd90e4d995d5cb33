"""Focus: how much of each activation map lies on an object that somebody marked in the picture.

The score is `mask_scores.energy_inside`: 1 is a map that lies on the object alone, and a map
without focus gets the object's share of what the model sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nls_core.analysis.results import Analysis, CamMap
from nls_core.decode import decode_mask
from nls_core.errors import InvalidInput
from nls_core.metrics import mask_scores
from nls_core.settings import Settings
from nls_core.types import Geometry

GRID = 224  # cells along each edge of the model's frame at which maps and masks are compared
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Marked:
    """An object in a picture: (h, w) bool of the whole picture at any scale, and whose mask it is.

    `source` begins a sentence: 'Your paint'.
    """

    mask: Mask
    source: str


@dataclass(frozen=True)
class Focus:
    """Of one model: the share of its clean map, and of its map at each ε, on the object."""

    clean: float
    attacked: tuple[float, ...]


@dataclass(frozen=True)
class FocusScores:
    """Of an analysis: `area` is the object's share of the frame; a `Focus` for each model."""

    area: float
    models: tuple[Focus, ...]


def read_mask(data: bytes, size: tuple[int, int], settings: Settings) -> Mask:
    """Decode the mask of a picture, as `decode.decode_mask` under this deployment's limits.

    Args:
        data: a PNG file.
        size: of the picture, (width, height) in pixels.
        settings: hold the limits.

    Raises:
        ImageRejected, TooLarge: as `decode.decode_mask`.
        InvalidInput: the mask is of another size, or marks nothing.
    """
    mask = decode_mask(data, max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    if mask.shape != size[::-1]:
        raise InvalidInput(
            f"expected a mask of the picture's {size[0]} × {size[1]} pixels, got "
            f"{mask.shape[1]} × {mask.shape[0]}; scale it to the picture's size"
        )
    if not mask.any():
        raise InvalidInput(
            "expected a mask that marks an object, got an empty one; make its pixels non-zero"
        )
    return mask


def in_frame(mask: Mask, geometry: Geometry) -> Tensor:
    """What the model sees of a mask, its value at the middle of each cell.

    Args:
        mask: (h, w) of the picture, at any scale.
        geometry: of the picture; what its `box` holds outside the picture is no object.

    Returns:
        (GRID, GRID) bool, over the whole frame.
    """
    height, width = mask.shape
    left, top, right, bottom = geometry.box
    middles = (np.arange(GRID) + 0.5) / GRID
    columns = np.floor((left + middles * (right - left)) / geometry.width * width).astype(int)
    rows = np.floor((top + middles * (bottom - top)) / geometry.height * height).astype(int)
    there = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    seen = mask[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]
    return torch.from_numpy(seen & there)


def score(analysis: Analysis, mask: Mask) -> FocusScores:
    """The focus of every model on a marked object, clean and at each ε.

    Args:
        analysis: of the picture.
        mask: (h, w) bool, true on the object; of the whole picture, at any scale.

    Raises:
        InvalidInput: nothing is marked, or nothing inside the frame that the models see.
    """
    if mask.ndim != 2 or not mask.any():
        raise InvalidInput("expected a mask with an object; got one that is empty")
    seen = in_frame(mask, analysis.geometry)
    if not seen.any():
        edges = ", ".join(f"{edge:.0f}" for edge in analysis.geometry.box)
        raise InvalidInput(
            "expected an object inside the frame that the models see (left, top, right, bottom "
            f"in pixels: {edges}); got one outside"
        )
    found = [_shares([m.cam, *(p.cam for p in m.sweep)], seen) for m in analysis.models]
    models = tuple(Focus(clean, tuple(attacked)) for clean, *attacked in found)
    return FocusScores(float(mask_scores.area(seen[None])), models)


def _shares(maps: list[CamMap], seen: Tensor) -> list[float]:
    values = torch.from_numpy(np.stack([cam.values for cam in maps]))  # (1 + E, h, w)
    shares = mask_scores.energy_inside(values, seen.expand(len(values), -1, -1))
    return [float(share) for share in shares]
