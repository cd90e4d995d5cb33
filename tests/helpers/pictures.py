"""Small pictures and their files, for tests of decoding and of the conversions."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nls_core.images import decode_image


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(image: Image.Image) -> NDArray[np.int64]:
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int64)


def random_picture(width: int = 12, height: int = 8, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def smooth_picture(width: int = 48, height: int = 32) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    colours = np.stack([x * 5, y * 7, 255 - x * 5], axis=2)
    return Image.fromarray(colours.astype(np.uint8))


def one_pixel(mode: str, colour: Any, **info: Any) -> tuple[int, ...]:
    """What the first pixel of a PNG of one colour becomes."""
    return decode_image(encode(Image.new(mode, (3, 2), colour), **info)).getpixel((0, 0))  # type: ignore[return-value]  # no mode of one band
