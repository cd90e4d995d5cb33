"""Lay a cut-out on a background, with the mask of where it lies; every draw comes from one seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor

from nls_core.errors import InvalidInput

Pixels = NDArray[np.uint8]  # (H, W, 3)
SCALES = (0.5, 0.95)  # longest edge, as a share of the picture's: subjects fill their photos
TURN = 15.0  # degrees, either way
JITTER = {  # factors of Pillow's enhancers: 1 changes nothing
    ImageEnhance.Brightness: (0.7, 1.3),
    ImageEnhance.Contrast: (0.75, 1.25),
    ImageEnhance.Color: (0.6, 1.4),
}
NOISE = 6.0  # levels: the largest standard deviation of a camera's noise
OPAQUE = 128  # from this alpha on a pixel belongs to the object
PHOTO_SHARE = 0.5  # of the renderings, where photos are at hand: uploads are photos


def render(
    cutout: Image.Image, seed: int, size: int = 224, photos: Sequence[Pixels] = ()
) -> tuple[Tensor, Tensor]:
    """A cut-out at a random scale, place, turn and colour on a random background.

    Args:
        cutout: RGBA, cropped to its object.
        seed: of every draw; the same arguments give the same picture.
        size: edge of the picture in pixels.
        photos: (H, W, 3) pictures for backgrounds, each at least 2 pixels wide and high; without
            them backgrounds are plain, graded or textured.

    Returns:
        The picture, (3, size, size) uint8, and the object's mask, (size, size) bool.

    Raises:
        InvalidInput: another mode, a cut-out without a pixel of its own, or a size below 8.
    """
    if cutout.mode != "RGBA" or cutout.getbbox() is None or size < 8:
        raise InvalidInput(
            f"expected an RGBA cut-out that shows something, at 8 pixels or more; got "
            f"{cutout.mode} {cutout.size} at {size}"
        )
    rng = np.random.default_rng(seed)
    ground = _jitter(background(rng, size, photos), rng)
    thing = _posed(cutout, rng, size)
    left, top = (int(rng.integers(0, size - edge + 1)) for edge in thing.size)
    layer = Image.new("RGBA", (size, size))
    layer.paste(_jitter(thing.convert("RGB"), rng), (left, top))
    alpha = Image.new("L", (size, size))
    alpha.paste(thing.getchannel("A"), (left, top))
    ground.paste(layer.convert("RGB"), (0, 0), alpha)
    noise = rng.normal(0, rng.uniform(0, NOISE), (size, size, 3))
    pixels = np.clip(np.asarray(ground) + noise, 0, 255).round().astype(np.uint8)
    mask = np.asarray(alpha) >= OPAQUE
    if not mask.any():  # a faint or hair-thin object: what there is of it
        mask = np.asarray(alpha) > 0
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), torch.from_numpy(mask)


def _posed(cutout: Image.Image, rng: Generator, size: int) -> Image.Image:
    """The object flipped, turned and scaled; at most `size` pixels wide and high."""
    if rng.random() < 0.5:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle, share = rng.uniform(-TURN, TURN), rng.uniform(*SCALES)
    # colours weighted by alpha, else what lies under the transparent border bleeds in
    turned = cutout.convert("RGBa").rotate(angle, Image.Resampling.BILINEAR, expand=True)
    turned = turned.crop(turned.getbbox())
    factor = share * size / max(turned.size)
    edges = [min(max(1, round(edge * factor)), size) for edge in turned.size]
    return turned.resize((edges[0], edges[1]), Image.Resampling.BICUBIC).convert("RGBA")


def _jitter(image: Image.Image, rng: Generator) -> Image.Image:
    for enhancer, bounds in JITTER.items():
        image = enhancer(image).enhance(rng.uniform(*bounds))
    return image


def background(rng: Generator, size: int, photos: Sequence[Pixels]) -> Image.Image:
    """A random background, as `render` lays objects on."""
    if photos and rng.random() < PHOTO_SHARE:
        return _crop(rng, size, photos[int(rng.integers(len(photos)))])
    names = list(BACKGROUNDS)
    return Image.fromarray(
        BACKGROUNDS[names[rng.integers(len(names))]](rng, size).clip(0, 255).astype(np.uint8)
    )


def _crop(rng: Generator, size: int, photo: Pixels) -> Image.Image:
    """A square of at least a third of a photo's shorter edge, flipped or not."""
    height, width = photo.shape[:2]
    edge = max(1, round(min(height, width) * rng.uniform(1 / 3, 1)))
    top, left = (int(rng.integers(0, full - edge + 1)) for full in (height, width))
    square = Image.fromarray(photo[top : top + edge, left : left + edge])
    if rng.random() < 0.5:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return square.resize((size, size), Image.Resampling.BICUBIC)


def _colour(rng: Generator) -> NDArray[np.float64]:
    """(3,) any colour, or as often a grey or white one, as walls, tables and shops have."""
    if rng.random() < 0.5:
        return np.asarray(rng.uniform(0, 255, 3))
    return np.asarray(
        np.clip(rng.choice([40.0, 128.0, 200.0, 245.0]) + rng.normal(0, 8, 3), 0, 255)
    )


def _solid(rng: Generator, size: int) -> NDArray[np.float64]:
    return np.broadcast_to(_colour(rng), (size, size, 3))


def _mixed(rng: Generator, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two colours, mixed by an (H, W) share in [0, 1]."""
    return _colour(rng) * share[..., None] + _colour(rng) * (1 - share[..., None])


def _slope(rng: Generator, size: int) -> NDArray[np.float64]:
    """(size, size) position along a random direction, 0 to 1 from corner to corner."""
    angle = rng.uniform(0, 2 * math.pi)
    rows, columns = np.mgrid[0:size, 0:size]
    along = rows * math.sin(angle) + columns * math.cos(angle)
    return np.asarray((along - along.min()) / max(float(np.ptp(along)), 1e-9))


def _gradient(rng: Generator, size: int) -> NDArray[np.float64]:
    return _mixed(rng, _slope(rng, size))


def _clouds(rng: Generator, size: int) -> NDArray[np.float64]:
    """Noise summed over octaves: plaster, clouds, gravel, by its roughness."""
    total, rough = np.zeros((size, size)), rng.uniform(0.4, 0.9)
    for octave in range(1, 7):
        grid = rng.random((2**octave + 1, 2**octave + 1)).astype(np.float32)
        smooth = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
        total += rough**octave * np.asarray(smooth)
    return _mixed(rng, (total - total.min()) / max(float(np.ptp(total)), 1e-9))


def _stripes(rng: Generator, size: int) -> NDArray[np.float64]:
    wave = np.sin(2 * math.pi * rng.integers(2, 24) * _slope(rng, size) + rng.uniform(0, 6))
    return _mixed(rng, np.clip(0.5 + rng.uniform(0.5, 4) * wave, 0, 1))


def _checks(rng: Generator, size: int) -> NDArray[np.float64]:
    one, other = (np.floor(rng.integers(2, 16) * _slope(rng, size)) % 2 for _ in range(2))
    return _mixed(rng, np.abs(one - other))


BACKGROUNDS: dict[str, Callable[[Generator, int], NDArray[np.float64]]] = {
    "solid": _solid,
    "gradient": _gradient,
    "clouds": _clouds,
    "stripes": _stripes,
    "checks": _checks,
}
