"""From a decoded picture to a model's input: `PREPROCESS` holds each family's conversion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageChops
from torch import Tensor

from nls_core.decode import decode_image, strips
from nls_core.errors import InvalidInput
from nls_core.types import Geometry

__all__ = ["PREPROCESS", "Prepared", "center_crop", "decode_image", "fashion", "thumbnail"]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

CLOSE = 12  # levels per channel: 5 % of full intensity, the paper's distance for "corner colour"
FILLS = 0.85  # every Fashion-MNIST image but two spans this much of its frame (those: 23/28)
CROP = 0.875  # share of the shorter edge that timm's evaluation of EfficientNet-Lite0 keeps


@dataclass(frozen=True)
class Prepared:
    """A model's input.

    `x` is (1, C, size, size) float32 in [0, 1]; `geometry` says where it lies in the picture;
    `notes` are sentences about what was done to it.
    """

    x: Tensor
    geometry: Geometry
    notes: tuple[str, ...] = ()


Preprocess = Callable[[Image.Image, int, int], Prepared]


def fashion(image: Image.Image, size: int = 28, channels: int = 1) -> Prepared:
    """The conversion by which Fashion-MNIST was made (Xiao et al. 2017, arXiv 1708.07747).

    Trim the border of the corner colour, longest edge to `size`, sharpen (Gaussian, radius and
    sigma 1), centre on a square of the corner colour, negate a bright background, grey, 8 bit.
    Differences: pixels are averaged rather than skipped when shrinking, and a grey square
    picture that already fills a dark frame is only resized, so the data set's own images pass
    unchanged. The corner colour decides what is bright: in all 70,000 images it is dark, while
    the median of the border is bright in two.

    Args:
        image: RGB.
        size: edge of the square input.
        channels: 1, or 3 equal ones.

    Raises:
        InvalidInput: another mode, size or number of channels.
    """
    _check(image, size, channels)
    corner, whole, notes = _corner_colour(image), (0, 0, *image.size), []
    found = _content(image, corner)
    level = float(_pixels(Image.new("RGB", (1, 1), corner).convert("L")))
    bright = level >= 0.5
    ready = not bright and _converted(image, found, size)
    box = whole if ready or found is None else found
    small = _resize_longest(image, box, size)
    grey = _pixels(small.convert("L"))  # (1, 1, h, w)
    if not ready:
        grey = _sharpen(grey)
    if found is None:
        notes.append("the picture has a single colour; it was kept whole")
    elif box != whole:
        notes.append("the border of the background's colour was trimmed")
    square = _pad(grey, level, size)
    geometry = Geometry(*image.size, _padded(box, small.size, size))
    if bright:
        square = 1 - square
        notes.append("the bright background was inverted, as in Fashion-MNIST")
    square = (square * 255).round() / 255
    return Prepared(square.expand(1, channels, size, size).contiguous(), geometry, tuple(notes))


def _corner_colour(image: Image.Image) -> tuple[int, int, int]:
    """The colour that most corners share, on a tie the one that more of the border has."""
    width, height = image.size
    k = max(1, min(width, height) // 50)  # a corner is the median over a small patch
    x, y = width - k, height - k
    patches = [image.crop((i, j, i + k, j + k)) for j in (0, y) for i in (0, x)]
    colours = np.array([np.median(np.asarray(p).reshape(-1, 3), axis=0) for p in patches])  # (4, 3)
    edges = [(0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height)]
    strips = [image.crop(box) for box in (*edges, (width - 1, 0, width, height))]
    border = np.concatenate([np.asarray(strip).reshape(-1, 3) for strip in strips])  # (N, 3)
    # one colour after another: all at once would take 100 bytes per pixel of the border
    close = [[np.abs(c - x).max(1) <= CLOSE for x in (colours, border)] for c in colours]
    best = colours[np.argmax([corners.sum() + share.mean() for corners, share in close])]
    return tuple(best.round().astype(int).tolist())


def _content(image: Image.Image, corner: tuple[int, int, int]) -> Box | None:
    """The rows and columns in which at least 0.5 % of the pixels are not of the corner colour."""
    width, height = image.size
    across, down = np.zeros(height, np.int64), np.zeros(width, np.int64)  # how many of each
    for top, strip in strips(image):
        plain = Image.new("RGB", strip.size, corner)
        red, green, blue = ImageChops.difference(strip, plain).split()
        far = np.asarray(ImageChops.lighter(ImageChops.lighter(red, green), blue)) > CLOSE  # (h, W)
        across[top : top + len(far)] = far.sum(1)
        down += far.sum(0)
    rows = np.flatnonzero(across >= max(1, width // 200))
    columns = np.flatnonzero(down >= max(1, height // 200))
    if not len(rows) or not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _converted(image: Image.Image, found: Box | None, size: int) -> bool:
    """Whether a picture on a dark background looks like one of the data set's, at any scale."""
    width, height = image.size
    if width != height or any(_spread(strip) > CLOSE for _, strip in strips(image)):
        return False
    left, top, right, bottom = found or (0, 0, 0, 0)
    return width == size or max(right - left, bottom - top) >= FILLS * width


def _spread(image: Image.Image) -> int:
    """How far from grey a picture is: the most by which red differs from green or blue."""
    red, green, blue = image.split()
    spreads = [ImageChops.difference(red, other) for other in (green, blue)]
    return max(int(np.asarray(spread).max()) for spread in spreads)


def _resize_longest(image: Image.Image, box: Box, size: int) -> Image.Image:
    """A part of a picture, its longest edge resized to `size`: area average, or bicubic."""
    width, height = box[2] - box[0], box[3] - box[1]
    longest = max(width, height)
    how = Image.Resampling.BOX if longest >= size else Image.Resampling.BICUBIC
    target = max(1, round(width * size / longest)), max(1, round(height * size / longest))
    return image.resize(target, how, box=box)


def _sharpen(grey: Tensor) -> Tensor:
    """ImageMagick's `-sharpen 1x1` of (1, 1, h, w): push pixels away from their neighbours' mean.

    Its 3 × 3 kernel is minus a Gaussian but for the centre, twice the Gaussian's sum.
    """
    line = torch.exp(-torch.tensor([1.0, 0.0, 1.0], device=grey.device, dtype=grey.dtype) / 2)
    kernel = -line[:, None] * line
    kernel[1, 1] = 2 * line.sum() ** 2
    kernel = (kernel / kernel.sum()).view(1, 1, 3, 3)
    return F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernel).clamp(0, 1)


def _pad(grey: Tensor, level: float, size: int) -> Tensor:
    """(1, 1, h, w) centred on a square of one level, (1, 1, size, size)."""
    height, width = grey.shape[2:]
    left, top = (size - width) // 2, (size - height) // 2
    return F.pad(grey, (left, size - width - left, top, size - height - top), value=level)


def _padded(box: Box, inner: tuple[int, int], size: int) -> tuple[float, float, float, float]:
    """Where a square of `size` lies, `inner` being the size of its centre, made of `box`."""
    across, down = (box[2] - box[0]) / inner[0], (box[3] - box[1]) / inner[1]  # per input pixel
    left = box[0] - (size - inner[0]) // 2 * across
    top = box[1] - (size - inner[1]) // 2 * down
    return left, top, left + size * across, top + size * down


def center_crop(image: Image.Image, size: int = 224, channels: int = 3) -> Prepared:
    """Shorter edge to size / 0.875, bicubic, then the central square: timm's for lite0.

    Args:
        image: RGB.
        size: edge of the square input.
        channels: 3, or 1 for grey.

    Raises:
        InvalidInput: another mode, size or number of channels.
    """
    _check(image, size, channels)
    short = round(size / CROP)
    edges = [int(short * edge / min(image.size)) for edge in image.size]  # as torchvision rounds
    scales = [edge / n for edge, n in zip(image.size, edges, strict=True)]
    x0, y0 = (round((n - size) / 2) * s for n, s in zip(edges, scales, strict=True))
    box = (x0, y0, x0 + size * scales[0], y0 + size * scales[1])
    # one step, so that no narrow picture is first blown up along its longer edge
    small = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    x = _pixels(small if channels == 3 else small.convert("L"))
    return Prepared(x, Geometry(*image.size, box), ("the model sees the central square",))


def _check(image: Image.Image, size: int, channels: int) -> None:
    if image.mode != "RGB" or size < 1 or channels not in (1, 3):
        raise InvalidInput(
            "expected a picture of mode RGB, a size of at least 1 and 1 or 3 channels, "
            f"got {image.mode}, {size} and {channels}"
        )


def _pixels(image: Image.Image) -> Tensor:
    """(1, C, h, w) float32 in [0, 1] of an 8-bit picture of mode L or RGB."""
    array = np.array(image, dtype=np.uint8).reshape(image.height, image.width, -1)
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255  # HWC -> NCHW


def thumbnail(picture: Image.Image, longest: int = 512) -> NDArray[np.uint8]:
    """A picture as (h, w, 3) uint8, its longer side at most `longest` pixels.

    Pillow's `thumbnail` to the bit, without the copy of the whole picture that it needs.
    """
    width, height = picture.size
    if max(width, height) <= longest:  # never enlarges
        return np.asarray(picture)
    size = _shrunk(width, height, longest)
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def _shrunk(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size at which the longer side has `longest` pixels, the other so that the shape stays."""
    aspect = width / height
    if aspect <= 1:
        exact = longest * aspect
        return max(1, _nearer(exact, lambda n: abs(aspect - n / longest))), longest
    exact = longest / aspect
    return longest, max(1, _nearer(exact, lambda n: abs(aspect - longest / n) if n else 0))


def _nearer(exact: float, miss: Callable[[int], float]) -> int:
    return min(math.floor(exact), math.ceil(exact), key=miss)


PREPROCESS: dict[str, Preprocess] = {"fashion": fashion, "center-crop": center_crop}
