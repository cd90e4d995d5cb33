"""Files that strangers may send: hostile ones, and odd ones with the picture that each holds.

`python -m tests.security.corpus FOLDER` writes files into FOLDER/hostile, for `nls soak --files`,
and into FOLDER/sound, for `scripts/fuzz_decoder.py`.
"""

from __future__ import annotations

import functools
import io
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.security import building as made

SIZE = (61, 47)
Files = Iterator[tuple[str, bytes]]


def reference(data: bytes) -> NDArray[np.uint8]:
    """The picture in a file, (H, W, 3), by Pillow's own functions on the whole of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):
        grey = np.rint(np.asarray(image) / 257).astype(np.uint8)
        grey[np.asarray(image) == image.info.get("transparency", -1)] = 255
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


@functools.lru_cache
def sound() -> dict[str, bytes]:
    """One small file of each format and mode, of noise, so that no part of it can be missing."""
    rgb = made.noise(*SIZE)
    deep = Image.fromarray(np.arange(61 * 47, dtype=np.uint16).reshape(47, 61) * 22)
    files = {
        f"PNG {mode}": made.encode(made.noise(*SIZE, mode))
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA")
    }
    return files | {
        "PNG I;16": made.encode(deep),
        "PNG I;16 key": made.encode(deep, transparency=4400),
        "PNG P alpha": made.encode(made.noise(*SIZE, "P"), transparency=bytes(range(256))),
        "PNG RGB key": made.encode(rgb, transparency=rgb.getpixel((3, 3))),
        "PNG interlaced": made.interlaced(np.asarray(rgb)),
        "PNG animated": made.encode(rgb, save_all=True, append_images=[made.noise(*SIZE, seed=1)]),
        "JPEG": made.encode(rgb, "JPEG"),
        "JPEG L": made.encode(rgb.convert("L"), "JPEG"),
        "JPEG 4:4:4": made.encode(rgb, "JPEG", subsampling=0),
        "JPEG progressive": made.encode(rgb, "JPEG", progressive=True),
        "JPEG CMYK": made.encode(rgb.convert("CMYK"), "JPEG"),
        "JPEG restarts": made.encode(rgb, "JPEG", restart_marker_blocks=2),
        "MPO": made.encode(rgb, "MPO", save_all=True, append_images=[made.noise(*SIZE, seed=1)]),
        "WebP": made.encode(rgb, "WEBP"),
        "WebP lossless": made.encode(rgb, "WEBP", lossless=True),
        "WebP alpha": made.encode(made.noise(*SIZE, "RGBA"), "WEBP"),
        "WebP animated": made.encode(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]),
        "GIF": made.encode(rgb, "GIF"),
        "GIF L": made.encode(rgb.convert("L"), "GIF", interlace=0),
        "GIF alpha": made.encode(made.noise(*SIZE, "P"), "GIF", transparency=5),
        "GIF animated": made.encode(rgb, "GIF", save_all=True, append_images=[rgb.rotate(180)]),
        "BMP": made.encode(rgb, "BMP"),
        "BMP 1": made.encode(rgb.convert("1"), "BMP"),
        "BMP P": made.encode(rgb.convert("P"), "BMP"),
        "BMP RGBA": made.encode(made.noise(*SIZE, "RGBA"), "BMP"),
        "BMP runs": made.bmp(*SIZE, 8, 1, b"\x3d\x07\0\0" * 47 + b"\0\1"),
    }


# --- valid ----------------------------------------------------------------------------------


def odd() -> Iterator[tuple[str, bytes, NDArray[np.uint8]]]:
    """(name, file, its picture): valid files out of the ordinary."""
    rgb = made.noise(*SIZE)
    for name, data in sound().items():
        yield name, data, reference(data)
        yield f"{name}, trailing bytes", data + b"\xff\xda tail" * 9, reference(data)
    for value in range(10):
        turned = {"exif": made.oriented(value)}
        for name, picture, kind in (
            ("JPEG", rgb, "JPEG"),
            ("CMYK JPEG", rgb.convert("CMYK"), "JPEG"),
            ("grey PNG", rgb.convert("L"), "PNG"),
            ("PNG with alpha", made.noise(*SIZE, "LA"), "PNG"),
            ("WebP", rgb, "WEBP"),
        ):
            data = made.encode(picture, kind, **turned)
            yield f"{name}, orientation {value}", data, reference(data)
    for name, (plain, data) in bloated().items():
        yield name, data, reference(plain)


def bloated() -> dict[str, tuple[bytes, bytes]]:
    """name -> a file, and the same one with metadata that costs a parser much memory or time."""
    jpeg, png, gif = (sound()[kind] for kind in ("JPEG", "PNG RGB", "GIF"))
    text = made.chunk(b"zTXt", b"key\0\0" + made.zeros(1_000_000))
    profile = made.chunk(b"iCCP", b"key\0\0" + made.zeros(1_000_000))
    exif = made.greedy_exif()
    later = b"Exif\0\0" + bytes(120)
    comment = b"!\xfe" + (b"\xff" + bytes(255)) * 36_000 + b"\0"
    thin = b"!\xfe" + b"\x01x" * 3_000_000 + b"\0"
    webp = sound()["WebP lossless"]

    def first(extra: bytes) -> bytes:
        return png[:33] + extra + png[33:]  # after IHDR

    def second(extra: bytes) -> bytes:
        at = 13 + (3 << (gif[10] & 7) + 1)  # after the colours
        return gif[:at] + extra + gif[at:]

    bodies = {
        "greedy EXIF": (jpeg, made.with_segments(jpeg, made.segments([exif]))),
        "60,000 EXIF segments": (jpeg, made.with_segments(jpeg, made.segments([later] * 60_000))),
        "ICC garbage": (
            jpeg,
            made.with_segments(jpeg, made.segments([b"ICC_PROFILE\0\x01\x09" * 99], 0xE2)),
        ),
        "9 MB between segments": (jpeg, jpeg[:20] + bytes(9_000_000) + jpeg[20:]),
        "60 texts of 1 MB": (png, first(text * 60)),
        "a text beyond Pillow's limit": (
            png,
            first(made.chunk(b"zTXt", b"k\0\0" + made.zeros(9 << 20))),
        ),
        "200 profiles": (png, first(profile * 200)),
        "greedy EXIF in PNG": (
            png,
            first(made.chunk(b"eXIf", made.greedy_exif(60_000, 2_000_000)[6:])),
        ),
        "60,000 chunks": (png, first(made.chunk(b"teSt") * 60_000)),
        "comment of 9 MB": (gif, second(comment)),
        "comment of 3,000,000 pieces": (gif, second(thin)),
        "60,000 extensions": (gif, second(b"!\xfe\x01x\0" * 60_000)),
        "EXIF garbage in WebP": (
            webp,
            made.riff(webp[12:] + b"EXIF" + struct.pack("<I", 60_008) + exif[6:]),
        ),
    }
    return bodies


# --- hostile --------------------------------------------------------------------------------


def hostile() -> Files:
    """(name, file): none holds a picture within the limits."""
    for part in (cut, flipped, shapes, headers, counted, foreign, masked, scrambled):
        yield from part()


def cut() -> Files:
    trailing = ("PNG animated", "MPO", "WebP animated", "GIF animated", "BMP runs")
    for name, data in sound().items():
        if name not in trailing:  # where the first picture is whole long before the end
            for tenth in range(10):
                yield f"{name} cut at {tenth}/10", data[: len(data) * tenth // 10]


def flipped() -> Files:
    """Single bits of a PNG: its checksums tell each."""
    data = made.encode(made.noise(12, 8))
    for bit in range(0, 8 * len(data), 17):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"PNG, bit {bit} flipped", bytes(changed)


def shapes() -> Files:
    """No pixels, sides or areas beyond the limits; some with all their data."""
    jpeg, progressive = (sound()[kind] for kind in ("JPEG", "JPEG progressive"))
    sides = [(0, 0), (0, 9), (9, 0), (65_535, 1), (1, 65_535), (16_385, 2), (2, 16_385)]
    for w, h in [*sides, (65_535, 65_535), (16_384, 16_384)]:
        small = w * h <= 70_000
        for depth, colour in ((1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 3), (8, 4), (8, 6)):
            data = None if small else zlib.compress(bytes(99_999))
            yield f"PNG {w}x{h} {depth},{colour}", made.png(w, h, depth, colour, data=data)
        yield f"BMP {w}x{h}", made.bmp(w, h, data=bytes(w * h * 3 + 3 * h if small else 999))
        yield f"RLE BMP {w}x{h}", made.bmp(w, h, 8, 1, b"\xff\x01" * 300)
        yield f"GIF {w}x{h}", made.gif(w, h)
        if (w, h) != (16_384, 16_384):  # a baseline JPEG of that size is decoded at 1/8
            yield f"JPEG {w}x{h}", made.jpeg_size(jpeg, w, h)
        yield f"progressive JPEG {w}x{h}", made.jpeg_size(progressive, w, h)
        if w and h:
            yield f"WebP {w}x{h}", made.webp_canvas(w, h)
    yield "a line of 40,000,000 bits", made.png(40_000_000, 1, 1, 0)
    yield "a column of 40,000,000 bits", made.png(1, 40_000_000, 1, 0, data=made.zeros(80_000_000))


def headers() -> Files:
    """Fields of headers that no format allows."""
    allowed = {(d, 0) for d in (1, 2, 4, 8, 16)} | {(d, 3) for d in (1, 2, 4, 8)}
    allowed |= {(d, c) for d in (8, 16) for c in (2, 4, 6)}
    for depth in (0, 1, 2, 3, 4, 8, 16, 32, 255):
        for colour in (0, 1, 2, 3, 4, 5, 6, 7, 255):
            if (depth, colour) not in allowed:
                yield f"PNG depth {depth}, colour {colour}", made.png(9, 9, depth, colour)
    for bits in (0, 2, 3, 5, 7, 64, 65_535):
        yield f"BMP of {bits} bits", made.bmp(9, 9, bits, data=bytes(999))
    for compression in (3, 4, 5, 6, 11, 2**31):
        yield f"BMP compression {compression}", made.bmp(9, 9, 24, compression, bytes(999))
    jpeg = sound()["JPEG"]
    at = jpeg.index(b"\xff\xc0")
    for offset, values in ((4, (0, 7, 12, 16, 255)), (9, (0, 2, 5, 255)), (11, (0x00, 0x55, 0xF1))):
        for value in values:
            data = jpeg[: at + offset] + bytes([value]) + jpeg[at + offset + 1 :]
            yield f"JPEG frame byte {offset} = {value}", data
    yield "JPEG of two frames", jpeg[:at] + jpeg[at : at + 19] + jpeg[at:]


def counted() -> Files:
    """Too many of something."""
    jpeg, png, gif = (sound()[kind] for kind in ("JPEG", "PNG RGB", "GIF"))
    yield "APNG of 10,000 frames", made.apng(10_000)
    yield "GIF of 10,000 frames", made.gif(4, 4, 10_000)
    frame = b"ANMF" + struct.pack("<I", 16) + bytes(16)
    yield "WebP of 10,000 frames", made.riff(sound()["WebP animated"][12:] + frame * 10_000)
    for count in (100, 1_000, 3_000):
        yield f"JPEG of {count} scans", made.scans(count)
    yield "black JPEG of 3,000 scans", made.idle_scans(2_048, 2_048, 3_000)
    yield "large JPEG of 60 scans", made.idle_scans(4_096, 4_096, 62)
    yield "JPEG of 200,000 segments", made.with_segments(jpeg, made.segments([b"x"] * 200_000))
    yield "PNG of 200,000 chunks", png[:33] + made.chunk(b"teSt") * 200_000 + png[33:]
    yield "GIF of 200,000 extensions", gif[:781] + b"!\xfe\x01x\0" * 200_000 + gif[781:]
    webp = sound()["WebP"][12:]
    yield "WebP of 200,000 chunks", made.riff(webp + (b"teSt" + bytes(4)) * 200_000)
    runs = made.bmp(2_000, 1_000, 8, 1, b"\x01\x01" * 2_000_000)
    yield "BMP of 2,000,000 runs", runs
    yield "16,384 squared in runs", made.bmp(16_384, 16_384, 8, 1, b"\0\2\0\xff" * 99)
    yield "a byte too many", png.ljust(10_000_001, b"\0")


def foreign() -> Files:
    """Formats that are not read, whatever Pillow makes of them."""
    rgb = made.noise(*SIZE)
    for kind in ("TIFF", "PPM", "TGA", "SGI", "DDS", "ICO", "PCX", "IM", "JPEG2000", "PDF", "EPS"):
        yield kind, made.encode(rgb, kind)
    yield "AVIF", made.encode(rgb, "AVIF")
    yield "XBM", made.encode(rgb.convert("1"), "XBM")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    starts = (
        b"",
        b"\n ",
        b"\xef\xbb\xbf",
        b'<?xml version="1.0"?>',
        b"<!DOCTYPE svg>",
        b"<!-- -->",
    )
    for start in starts:
        yield f"SVG after {start!r}", start + svg
    yield "HTML", b"<!doctype html><script>alert(1)</script>"
    yield "ZIP", b"PK\x03\x04" + bytes(99)
    yield "PSD", b"8BPS\0\x01" + bytes(6) + b"\0\x03" + struct.pack(">IIHH", 9, 9, 8, 3) + bytes(99)
    yield "HEIC", b"\0\0\0\x18ftypheic" + bytes(99)
    yield "gzip", b"\x1f\x8b\x08" + bytes(99)
    yield "ELF", b"\x7fELF" + bytes(99)
    yield "PHP behind a GIF's name", b"GIF89a<?php phpinfo(); ?>"
    for size in (0, 1, 2, 3, 8, 11, 12, 99):
        yield f"{size} zeros", bytes(size)


STARTS = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": made.SIGNATURE,
    "WebP": b"RIFF\x40\0\0\0WEBP",
    "GIF": b"GIF89a",
    "BMP": b"BM",
}


def masked() -> Files:
    """The first bytes of one format before a file of another."""
    for name, start in STARTS.items():
        for other in ("JPEG", "PNG RGB", "WebP", "BMP"):
            if not other.startswith(name):
                yield f"{other} as {name}", start + sound()[other]


def scrambled() -> Files:
    """The first bytes of each format, then noise."""
    for name, start in STARTS.items():
        for seed in range(20):
            random = np.random.default_rng(seed)
            yield f"{name}, noise {seed}", start + random.bytes(int(random.integers(1, 3000)))


def uncertain() -> Files:
    """Bits flipped in formats without checksums: a picture or a refusal, both are right."""
    for name, data in sound().items():
        for seed in range(20):
            changed = bytearray(data)
            for at in np.random.default_rng(seed).integers(0, 8 * len(data), 1 + seed % 5):
                changed[at // 8] ^= 1 << at % 8
            yield f"{name}, flips {seed}", bytes(changed)


def write(folder: Path, files: Files) -> None:
    """Put files into a new folder, named by their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (_, content) in enumerate(files):
        (folder / f"{index:03}").write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1], "hostile"), hostile())
    write(Path(sys.argv[1], "sound"), iter(sound().items()))
