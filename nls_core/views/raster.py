"""Maps and images -> pixels: colour maps, overlays, PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nls_core.analysis.results import ModelAnalysis
from nls_core.errors import InvalidInput
from nls_core.types import FloatArray, Geometry

Pixels = NDArray[np.uint8]
# evenly spaced stops of matplotlib's Inferno, and of ColorBrewer's RdBu from blue to red
SEQUENTIAL = (
    *("#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60"),
    *("#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4"),
)
FINE = 28  # cells of an edge, of which values are told one by one
EXACT = 64  # pixels of an edge, to which pictures are shown as they are
DIVERGING = (
    *("#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7"),
    *("#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"),
)


def png_bytes(array: NDArray[Any]) -> bytes:
    """A PNG file of (H, W) or (H, W, 3) uint8, or of (C, H, W) floats in [0, 1], C of 1 or 3.

    Raises:
        InvalidInput: another type, shape or range.
    """
    pixels = np.asarray(array)
    shape, dtype = pixels.shape, pixels.dtype
    if dtype.kind == "f" and len(shape) == 3 and np.all((pixels >= 0) & (pixels <= 1)):
        pixels = (pixels * 255).round().astype(np.uint8).transpose(1, 2, 0)  # CHW -> HWC
        pixels = pixels[..., 0] if shape[0] == 1 else pixels
    if (
        pixels.dtype != np.uint8
        or not pixels.size
        or pixels.ndim < 2
        or pixels.shape[2:] not in ((), (3,))
    ):
        raise InvalidInput(
            "expected (H, W) or (H, W, 3) uint8, or (1 or 3, H, W) floats in [0, 1], "
            f"got {shape} {dtype}"
        )
    file = io.BytesIO()
    # an eighth larger than by default, in a third of the time: a page is ten of them
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def png_data_uri(array: NDArray[Any]) -> str:
    """`png_bytes` as a data URI for HTML and JSON."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(array)).decode("ascii")


def jpeg_data_uri(array: Pixels) -> str:
    """A JPEG file of (H, W, 3) uint8 as a data URI, for many small photographs in one."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def shown_uri(array: Pixels) -> str:
    """Pixels for a page: a PNG of small pictures, as they are; of larger ones WebP, for the eye.

    The files of a photo are a sixth of the PNGs', so that a page can hold those of all strengths.
    """
    if array.shape[0] * array.shape[1] <= EXACT**2:
        return png_data_uri(array)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(file, "WEBP", quality=90, method=0)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


@lru_cache(maxsize=4)
def _table(diverging: bool) -> Pixels:
    """(256, 3) colours of the activation scale, or of the difference scale."""
    scale = DIVERGING if diverging else SEQUENTIAL
    stops = np.array([list(bytes.fromhex(colour[1:])) for colour in scale], np.float64)  # (n, 3)
    at, places = np.linspace(0, 1, 256), np.linspace(0, 1, len(stops))
    mixed = np.stack([np.interp(at, places, channel) for channel in stops.T], axis=1)
    return mixed.round().astype(np.uint8)


def colour_map(values: FloatArray, top: float) -> Pixels:
    """Colour an activation map: (h, w) ≥ 0 -> (h, w, 3), from 0 to `top` on Inferno."""
    share = np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values)
    return np.take(_table(False), (share * 255).round().astype(int), axis=0)


def difference_map(values: FloatArray, top: float) -> Pixels:
    """Colour a difference: (h, w) -> (h, w, 3), -top blue, 0 white, +top red."""
    share = np.clip(values / top, -1, 1) if top > 0 else np.zeros_like(values)
    return np.take(_table(True), ((share + 1) * 127.5).round().astype(int), axis=0)


def readable(values: FloatArray, low: float, high: float) -> tuple[int, str]:
    """A map (h, w) for static/values.js: its width in cells, and a byte a cell in base64.

    A byte is a 255th of the way from `low` to `high`; of maps of more than `FINE` cells an edge it
    is that of the mean around, so that no map takes more than 1 KB.
    """
    height, width = values.shape
    if max(height, width) > FINE:
        size = (min(width, FINE), min(height, FINE))
        image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
        values = np.asarray(image.resize(size, Image.Resampling.BOX))
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    cells = (np.clip(share, 0, 1) * 255).round().astype(np.uint8)
    return cells.shape[1], base64.b64encode(cells.tobytes()).decode("ascii")


def css_gradient(diverging: bool = False) -> str:
    """The colour scale as a CSS gradient, for colourbars."""
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in _table(diverging)[::15])
    return f"linear-gradient(to right, {stops})"


def resize(values: FloatArray, width: int, height: int, *, smooth: bool) -> FloatArray:
    """Resample a map (h, w) to (height, width): bilinear, or as cells."""
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), how))


def overlay(
    picture: Pixels,
    geometry: Geometry,
    values: FloatArray,
    *,
    top: float,
    smooth: bool = True,
    size: int = 256,
) -> Pixels:
    """Lay a map over the uploaded picture, where the model's input lies in it.

    Args:
        picture: (h, w, 3), the upload at any scale.
        geometry: of the upload; its `box` is where `values` goes.
        values: (h', w') activation map, ≥ 0.
        top: the value of the brightest colour, ≥ 0.
        smooth: bilinear between the map's cells, or the cells as they are.
        size: longest edge of the result in pixels.

    Returns:
        (H, W, 3) with the upload's proportions.
    """
    scale = size / max(geometry.width, geometry.height)
    width, height = (max(round(n * scale), 1) for n in (geometry.width, geometry.height))
    how = Image.Resampling.LANCZOS if picture.shape[0] > height else Image.Resampling.NEAREST
    base = np.asarray(Image.fromarray(picture).convert("L").resize((width, height), how))
    canvas = np.repeat(base[..., None], 3, axis=2).astype(np.float32)
    left, top_edge, right, bottom = (round(edge * scale) for edge in geometry.box)
    across, down = max(right - left, 1), max(bottom - top_edge, 1)
    colours = colour_map(resize(values, across, down, smooth=smooth), top)
    x0, y0, x1, y1 = max(left, 0), max(top_edge, 0), min(right, width), min(bottom, height)
    if x0 < x1 and y0 < y1:
        patch = colours[y0 - top_edge : y1 - top_edge, x0 - left : x1 - left]
        canvas[y0:y1, x0:x1] = 0.45 * canvas[y0:y1, x0:x1] + 0.55 * patch
    return canvas.round().astype(np.uint8)


def whole(x: FloatArray) -> tuple[Pixels, Geometry]:
    """A model input (C, H, W) in [0, 1] as a picture that the model sees whole."""
    pixels = (np.clip(x, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)  # HWC
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    height, width = pixels.shape[:2]
    return pixels, Geometry(width, height, (0.0, 0.0, float(width), float(height)))


def perturbation(x: FloatArray, adversarial: FloatArray) -> tuple[Pixels, float]:
    """The change of an image (C, H, W), amplified to the full range around grey, and the gain."""
    delta = adversarial - x
    largest = float(np.abs(delta).max())
    gain = 0.5 / largest if largest > 0 else 1.0
    return whole(delta * gain + 0.5)[0], gain


def joint_top(models: Sequence[ModelAnalysis], index: int | None) -> float:
    """The largest value of all shown maps: clean ones, and attacked ones at one ε."""
    maps = [model.cam for model in models]
    if index is not None:
        maps += [model.sweep[index].cam for model in models]
    return max(float(cam.values.max()) for cam in maps)
