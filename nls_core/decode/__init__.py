"""Bytes that somebody sends -> a picture or a mask. The only place where image bytes are parsed."""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from nls_core.decode.containers import CONTAINERS, Contents
from nls_core.errors import ImageRejected, TooLarge

Reader = Callable[[io.BytesIO], ImageFile.ImageFile]
T = TypeVar("T")

# The classes themselves, not Image.open: its bomb check cannot be set per call, and it would
# warn or refuse by a global. Phones' MPO files are read as the JPEG that they begin with.
READERS: dict[str, Reader] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
}
SIGNATURES: dict[str, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
    "HEIC or AVIF": re.compile(rb"....ftyp", re.DOTALL),
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
    "PDF": re.compile(rb"%PDF"),
    "SVG": re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml|<!doctype svg|<!--|<svg)", re.IGNORECASE),
}
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
TURNS = {  # EXIF orientation -> what sets the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_SIDE = 16_384
# bytes that one picture may take at once, above rest; measured: up to 6 % more
BUDGET = 141_000_000
DEPTHS = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # bytes per pixel in memory; else 4
STRIP = 1 << 18  # pixels that are converted at once
# bytes beside the pictures that decoding, converting and making a model's input take
ROWS = 4_000_000
STRIPS = 8_000_000
INPUT = 18_000_000
MAX_BLOCKS = 12_000_000  # 8 × 8 blocks of JPEG, those of every scan together: 1 s


def decode_image(
    data: bytes, *, max_bytes: int = 10_000_000, max_pixels: int = 40_000_000
) -> Image.Image:
    """Decode a JPEG, PNG, WebP, GIF or BMP file to 8-bit RGB, upright.

    EXIF orientation is applied, transparency is laid on white, animations give their first
    frame, 16-bit grey is divided by 257 and rounded, CMYK is converted without a profile, and
    colour profiles are ignored. The size is checked in the header, before any pixel is decoded.
    A JPEG that would need more than `BUDGET` is decoded at 1/2, 1/4 or 1/8 of its size, the
    largest that fits; other files are refused. May be called from any thread.

    Raises:
        TooLarge: more than `max_bytes` bytes.
        ImageRejected: another format, a damaged file, more than `max_pixels` pixels to decode, a
            side over `MAX_SIDE`, or more memory or time than is lent to one picture.
    """
    return _decode(data, tuple(READERS), _Limits(max_bytes, max_pixels, depth=4), _to_rgb)


def decode_mask(
    data: bytes, *, max_bytes: int = 10_000_000, max_pixels: int = 40_000_000
) -> NDArray[np.bool_]:
    """Decode a PNG file that marks an object, upright: (H, W), true on the object.

    Where some of the file is transparent, the object is what is not; else it is what is not black,
    however dark. So cut-outs, painted layers and images of zeros and ones all do.

    Raises:
        TooLarge, ImageRejected: as `decode_image`.
    """
    # other formats are lossy, or hold no more
    return _decode(data, ("PNG",), _Limits(max_bytes, max_pixels, depth=1), _to_mask)


@dataclass(frozen=True)
class _Limits:
    """The most bytes of a file and pixels to decode, and bytes per pixel of what is made of it."""

    bytes: int
    pixels: int
    depth: int


def _decode(
    data: bytes,
    accepted: Collection[str],
    limits: _Limits,
    convert: Callable[[Image.Image], T],
) -> T:
    """`convert` of a file's picture.

    No lock, no change to the filters of warnings: what makes Pillow warn never reaches it.
    """
    if len(data) > limits.bytes:
        raise TooLarge(
            f"expected at most {limits.bytes:,} bytes, got {len(data):,}; save the picture smaller"
        )
    name = _format(data, accepted)
    try:
        return convert(_upright(name, data, limits))
    except ImageRejected:
        raise
    except Exception as error:  # a parser of hostile bytes may raise nearly anything
        # where a number in the file is wrong, the parser's words are about its own arithmetic
        inner = isinstance(error, (struct.error, ValueError, IndexError, TypeError))
        why = "its parts do not fit together" if inner else str(error)[:100]
        raise ImageRejected(
            f"expected a whole {name} file, got a damaged one ({why}); "
            "open it in an image program and save it again"
        ) from error


def _format(data: bytes, accepted: Collection[str]) -> str:
    """The one of `accepted`, keys in READERS, that a file is, by its first bytes."""
    name = next((name for name, mark in SIGNATURES.items() if mark.match(data)), None)
    if name is not None and name in accepted:
        return name
    got = f"a file of type {name}" if name else f"{len(data):,} bytes that begin {data[:8]!r}"
    advice = "JPEG or PNG" if "JPEG" in accepted else "PNG"
    raise ImageRejected(
        f"expected an image file of type {', '.join(accepted)}, got {got}; save it as {advice}"
    )


def _upright(name: str, data: bytes, limits: _Limits) -> Image.Image:
    """The picture in the mode in which it is stored, decoded only if it fits the limits."""
    contents = CONTAINERS[name](data)
    image = READERS[name](io.BytesIO(contents.data))  # the header only
    scale = _scale(image, contents, len(data), limits)
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    vars(image).pop("_decoder", None)  # WebP's, whose canvases are twice the picture
    turn = TURNS.get(contents.orientation)
    return image if turn is None else image.transpose(turn)


def _scale(image: Image.Image, contents: Contents, size: int, limits: _Limits) -> int:
    """By what to divide the sides of a picture so that it fits the limits.

    Args:
        image: its header, read.
        contents: of its file.
        size: of its file in bytes.
        limits: of the result.

    Raises:
        ImageRejected: it does not fit.
    """
    width, height = image.size
    scales = (1, 2, 4, 8) if contents.scalable else (1,)
    pixels = {s: math.ceil(width / s) * math.ceil(height / s) for s in scales}
    if min(image.size) < 1 or min(pixels.values()) > limits.pixels:
        raise ImageRejected(
            f"expected 1 to {limits.pixels:,} pixels, got {width} × {height}; "
            "scale the picture down"
        )
    if max(image.size) > MAX_SIDE:
        raise ImageRejected(
            f"expected sides of at most {MAX_SIDE:,} pixels, got {width} × {height}; "
            "scale the picture down"
        )
    if contents.blocks > MAX_BLOCKS:
        raise ImageRejected(
            f"expected a JPEG file that is read in fewer passes, got {width} × {height} pixels in "
            "many scans; save it as an ordinary (baseline) JPEG"
        )
    needed = {s: _peak(image, contents, pixels[s], limits.depth) + size for s in scales}
    fitting = [s for s in scales if needed[s] <= BUDGET and pixels[s] <= limits.pixels]
    if not fitting:
        raise ImageRejected(
            f"expected a picture that is decoded in {BUDGET / 1e6:.0f} MB of memory, got "
            f"{width} × {height} pixels of mode {image.mode}, which take "
            f"{min(needed.values()) / 1e6:.0f} MB; scale the picture down"
        )
    return fitting[0]


def _peak(image: Image.Image, contents: Contents, pixels: int, depth: int) -> int:
    """The most bytes in use at once beside the file, from its header to the model's input.

    In turn: the picture is decoded, turned upright, converted strip by strip, and looked at in
    strips by `images.PREPROCESS`.
    """
    stored = pixels * DEPTHS.get(image.mode, 4)
    result = pixels * depth
    decoding = stored + contents.workspace + contents.canvases * pixels
    turning = stored * (2 if contents.orientation in TURNS else 1)
    converting = stored + (0 if _is_plain(image) and depth == 4 else result)
    steps = (decoding + ROWS, max(turning, converting) + STRIPS, result + INPUT)
    return len(contents.data) + max(steps)


def _is_plain(image: Image.Image) -> bool:
    """Whether a picture needs no conversion to RGB."""
    return image.mode == "RGB" and not image.has_transparency_data


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """A picture's rows in parts of about `STRIP` pixels, each with the first row's number."""
    width, height = image.size
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        box = (0, top, width, top + count)
        # what crop does, without its check against Pillow's global limit
        yield top, image.transform((width, count), Image.Transform.EXTENT, box)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any 8- or 16-bit mode as RGB; see `decode_image` for the rules."""
    if not image.mode.startswith("I") and image.mode not in MODES:
        raise ImageRejected(
            f"expected a picture of mode {', '.join(MODES)} or 16-bit grey, got {image.mode}; "
            "save it as 8-bit RGB"
        )
    if _is_plain(image):
        return image
    whole = Image.new("RGB", image.size)
    for top, strip in strips(image):
        whole.paste(_strip_to_rgb(strip), (0, top))
    return whole


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image).astype(np.int32), 0, 65535)
        grey = ((values + 128) // 257).astype(np.uint8)  # 257 = 65535 / 255; +128 rounds
        grey[values == image.info.get("transparency", -1)] = 255  # the key colour becomes white
        return Image.fromarray(grey).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _to_mask(image: Image.Image) -> NDArray[np.bool_]:
    """Any mode as (H, W), true on the object; see `decode_mask` for the rules."""
    cut_out = image.has_transparency_data and not image.mode.startswith("I")
    cut_out = cut_out and any(_alpha(strip).getextrema()[0] == 0 for _, strip in strips(image))
    inside = np.empty((image.height, image.width), np.bool_)
    for top, strip in strips(image):
        inside[top : top + strip.height] = _marked(strip, cut_out)
    return inside


def _alpha(image: Image.Image) -> Image.Image:
    return image.convert("RGBA").getchannel("A")


def _marked(image: Image.Image, cut_out: bool) -> NDArray[np.bool_]:
    if image.mode.startswith("I"):
        return np.asarray(image) > 0
    if cut_out:
        return np.asarray(_alpha(image)) > 0
    red, green, blue = image.convert("RGB").split()
    return np.asarray(ImageChops.lighter(ImageChops.lighter(red, green), blue)) > 0
