"""Bytes that somebody sends -> a picture or a mask. The only place where image bytes are parsed."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from nls_core.types import ImageRejected, TooLarge

Reader = Callable[[io.BytesIO], ImageFile.ImageFile]
Convert = Callable[[Image.Image], Image.Image]

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
ORIENTATION_TAG = 0x0112

_decoding = threading.Lock()  # warning filters are process-wide; it also bounds the memory in use


def decode_image(
    data: bytes, *, max_bytes: int = 10_000_000, max_pixels: int = 40_000_000
) -> Image.Image:
    """Decode a JPEG, PNG, WebP, GIF or BMP file to 8-bit RGB, upright.

    EXIF orientation is applied, transparency is laid on white, animations give their first
    frame, 16-bit grey is divided by 257 and rounded, CMYK is converted without a profile, and
    colour profiles are ignored. The size is checked in the header, before any pixel is decoded.

    Raises:
        TooLarge: more than `max_bytes` bytes.
        ImageRejected: another format, a damaged file, or more than `max_pixels` pixels.
    """
    _check_bytes(data, max_bytes)
    return _guarded(_format(data), data, max_pixels, _to_rgb)


def decode_mask(
    data: bytes, *, max_bytes: int = 10_000_000, max_pixels: int = 40_000_000
) -> NDArray[np.bool_]:
    """Decode a PNG file that marks an object, upright: (H, W), true on the object.

    Where some of the file is transparent, the object is what is not; else it is what is not black,
    however dark. So cut-outs, painted layers and images of zeros and ones all do.

    Raises:
        TooLarge: more than `max_bytes` bytes.
        ImageRejected: another format, a damaged file, or more than `max_pixels` pixels.
    """
    _check_bytes(data, max_bytes)
    name = _format(data, ("PNG",))  # other formats are lossy, or hold no more
    inside = _guarded(name, data, max_pixels, _to_mask)
    return np.asarray(inside, dtype=np.uint8) > 0


def _check_bytes(data: bytes, max_bytes: int) -> None:
    if len(data) > max_bytes:
        raise TooLarge(
            f"expected at most {max_bytes:,} bytes, got {len(data):,}; save the picture smaller"
        )


def _guarded(name: str, data: bytes, max_pixels: int, convert: Convert) -> Image.Image:
    with _decoding, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata is no reason to talk on stderr
        try:
            return _decode(READERS[name], data, max_pixels, convert)
        except ImageRejected:
            raise
        except Exception as error:  # a parser of hostile bytes may raise nearly anything
            raise ImageRejected(
                f"expected a whole {name} file, got a damaged one ({str(error)[:100]}); "
                "open it in an image program and save it again"
            ) from error


def _format(data: bytes, accepted: Collection[str] = tuple(READERS)) -> str:
    """The one of `accepted`, keys in READERS, that a file is, by its first bytes."""
    name = next((name for name, mark in SIGNATURES.items() if mark.match(data)), None)
    if name is not None and name in accepted:
        return name
    got = f"a file of type {name}" if name else f"{len(data):,} bytes that begin {data[:8]!r}"
    advice = "JPEG or PNG" if "JPEG" in accepted else "PNG"
    raise ImageRejected(
        f"expected an image file of type {', '.join(accepted)}, got {got}; save it as {advice}"
    )


def _decode(reader: Reader, data: bytes, max_pixels: int, convert: Convert) -> Image.Image:
    probe = reader(io.BytesIO(data))  # the header only
    width, height = probe.size
    if min(width, height) < 1 or width * height > max_pixels:
        raise ImageRejected(
            f"expected 1 to {max_pixels:,} pixels, got {width} × {height}; scale the picture down"
        )
    probe.verify()  # the checksums of PNG chunks, which decoding skips; it uses the file up
    image = reader(io.BytesIO(data))
    image.load()
    turn = TURNS.get(_orientation(image))
    upright = convert(image)
    return upright if turn is None else upright.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ORIENTATION_TAG)
    except Exception:  # damaged metadata does not make the pixels unusable
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any 8- or 16-bit mode as RGB; see `decode_image` for the rules."""
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image).astype(np.int32), 0, 65535)
        grey = ((values + 128) // 257).astype(np.uint8)  # 257 = 65535 / 255; +128 rounds
        grey[values == image.info.get("transparency", -1)] = 255  # the key colour becomes white
        return Image.fromarray(grey).convert("RGB")
    if image.mode not in MODES:
        raise ImageRejected(
            f"expected a picture of mode {', '.join(MODES)} or 16-bit grey, got {image.mode}; "
            "save it as 8-bit RGB"
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _to_mask(image: Image.Image) -> Image.Image:
    """Any mode as grey, above 0 on the object; see `decode_mask` for the rules."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) > 0).astype(np.uint8))
    alpha = image.convert("RGBA").getchannel("A")
    if image.has_transparency_data and alpha.getextrema()[0] == 0:
        return alpha
    red, green, blue = image.convert("RGB").split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)
