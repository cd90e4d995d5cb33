"""Picture files made by hand, byte by byte: what no encoder writes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)  # RGBA


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def zeros(size: int) -> bytes:
    """`size` zeros as a zlib stream, made a megabyte at a time."""
    deflate = zlib.compressobj(1)
    parts = [deflate.compress(bytes(min(1 << 20, size - at))) for at in range(0, size, 1 << 20)]
    return b"".join([*parts, deflate.flush()])


def png(width: int, height: int, depth: int = 8, colour: int = 2, **parts: Any) -> bytes:
    """A black PNG; `data` replaces its pixels, `before` (chunks) stands before them."""
    bits = depth * CHANNELS.get(colour, 1)
    data = parts.get("data")
    data = zeros(height * (1 + -(-width * bits // 8))) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, parts.get("interlace", 0))
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    middle = palette + parts.get("before", b"") + chunk(b"IDAT", data)
    return SIGNATURE + chunk(b"IHDR", header) + middle + chunk(b"IEND")


PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]  # of Adam7: top, left, steps
PASSES += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def interlaced(pixels: NDArray[np.uint8]) -> bytes:
    """An Adam7 PNG of (H, W, 3)."""
    parts = [pixels[top::down, left::across] for top, left, down, across in PASSES]
    rows = [b"\0" + row.tobytes() for part in parts if part.size for row in part]
    height, width = pixels.shape[:2]
    return png(width, height, data=zlib.compress(b"".join(rows)), interlace=1)


def apng(frames: int) -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, 4, 4, 0, 0, 1, 1, 0, 0)
    pair = chunk(b"fcTL", control) + chunk(b"fdAT", bytes(4) + zeros(52))
    start = chunk(b"acTL", struct.pack(">II", frames, 0)) + chunk(b"fcTL", control)
    return png(4, 4, before=start)[:-12] + pair * (frames - 1) + chunk(b"IEND")


def gif(width: int, height: int, frames: int = 1, before: bytes = b"") -> bytes:
    """A GIF of nearly no data; `before` (extensions) stands before its frames."""
    frame = b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0"
    colours = bytes([255, 0, 0, 0, 255, 0])
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0)
    return b"GIF89a" + screen + colours + before + frame * frames + b";"


def bmp(width: int, height: int, bits: int = 24, compression: int = 0, data: bytes = b"") -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 256, 0)
    palette = bytes(1024) if bits == 8 else b""
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<III", offset + len(data), 0, offset) + header + palette + data


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP whose canvas is of another size than its one frame."""
    inner = encode(noise(4, 4), "WEBP")[12:]
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff(b"VP8X" + struct.pack("<I", 10) + bytes(4) + sides + inner)


def riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def jpeg_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG file with other sides in its header."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def scans(count: int, width: int = 64, height: int = 64) -> bytes:
    """A progressive JPEG with `count` scans more: its last one again and again."""
    data = encode(noise(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return jpeg_size(data[:-2] + data[last:-2] * count + data[-2:], width, height)


def idle_scans(width: int, height: int, count: int) -> bytes:
    """A black progressive JPEG of few bytes, with `count` scans that change no coefficient."""
    blocks = -(-width // 8) * -(-height // 8)
    frame = b"\xff\xc2" + struct.pack(">HBHHB3B", 11, 8, height, width, 1, 1, 0x11, 0)
    tables = segments([b"\0" + b"\x01" * 64], 0xDB)
    one = b"\x01" + bytes(15)  # a code of one bit
    tables += segments([b"\x00" + one + b"\x00", b"\x10" + one + b"\xe0"], 0xC4)
    run = "0" + "1" * 14  # 32,767 blocks without a new coefficient
    skip = coded(run * -(-blocks // 32_767))
    scan = b"\xff\xda\x00\x08\x01\x01\x00"
    first = scan + b"\0\0\0" + coded("0" * blocks)
    return (
        b"\xff\xd8" + tables + frame + first + (scan + b"\x01\x3f\x10" + skip) * count + b"\xff\xd9"
    )


def coded(bits: str) -> bytes:
    """Bits as a JPEG's entropy-coded data."""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def segments(parts: Iterable[bytes], marker: int = 0xE1) -> bytes:
    head = bytes([0xFF, marker])
    return b"".join(head + struct.pack(">H", 2 + len(part)) + part for part in parts)


def with_segments(data: bytes, added: bytes) -> bytes:
    """A JPEG file with more segments at its start."""
    return data[:2] + added + data[2:]


def greedy_exif(entries: int = 5_000, length: int = 60_000, first: int = 0x0200) -> bytes:
    """EXIF of which every entry claims nearly all of it as its value."""
    items = (struct.pack("<HHII", first + n, 7, length, 8) for n in range(entries))
    body = b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + b"".join(items)
    return b"Exif\0\0" + body.ljust(length + 8, b"\0")


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif
