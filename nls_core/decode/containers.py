"""What a picture's file says before any pixel is decoded, and the file without all else.

Comments, profiles and EXIF hold lengths, counts and compressed text of the sender's choice, which
a decoder reads at a cost that no picture size bounds: EXIF of 64 KB makes Pillow hold 300 MB, and
a GIF's comments of 10 MB take it a minute. So the decoder gets the pixels and what says how to
read them, nothing else; of EXIF we read the orientation ourselves.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nls_core.errors import ImageRejected

MAX_PARTS = 65_536  # segments or chunks; a PNG of 10 MB in pieces of 1 KB has 10,000
MAX_FRAMES = 1_000
MAX_SCANS = 64  # a progressive JPEG of the usual encoders has 6 to 14
RLE_BYTES = 2_000_000  # Pillow reads run lengths in Python: with these limits 1 s at most
RLE_PIXELS = 4_000_000
BLOCK_BYTES = 128  # libjpeg keeps the 64 coefficients of a block as 16-bit integers


@dataclass(frozen=True)
class Contents:
    """What is left for the decoder.

    `data` is the file without metadata and `orientation` EXIF's number, 1 where it says none.
    Its decoder holds `workspace` bytes beside the picture, and `canvases` bytes for each pixel;
    `blocks` are the JPEG blocks that it goes through, those of every scan together.
    """

    data: bytes
    orientation: int = 1
    workspace: int = 0
    canvases: int = 0
    blocks: int = 0
    scalable: bool = False  # whether it can be decoded at 1/2, 1/4 and 1/8


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise ImageRejected(f"expected at most {most:,} {what}, got more; save the picture anew")


def orientation(exif: bytes) -> int:
    """The orientation that EXIF names, 1 to 8; 1 where it names none or is damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(order + "HHI", exif, entry)
            if tag == 0x0112 and length == 1 and kind in (1, 3, 4):
                form = {1: "B", 3: "H", 4: "I"}[kind]
                (value,) = struct.unpack_from(order + form, exif, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # it ends before what it promises
        pass
    return 1


# --- JPEG ------------------------------------------------------------------------------------

MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")  # those without a length are skipped
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
TABLES = (0xC4, 0xCC, 0xDB, 0xDD)  # Huffman, arithmetic, quantization, restarts
SCALABLE = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # made of DCT blocks
EOI, SOS, APP0, APP1, APP14 = 0xD9, 0xDA, 0xE0, 0xE1, 0xEE


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start of its payload, end) up to the end of the image, each scan as one."""
    at = 2
    for _ in range(MAX_PARTS):
        found = MARKER.search(data, at)
        if found is None or found[1][0] == EOI:
            return
        marker, at = found[1][0], found.end()
        if marker >= 0xC0:  # the decoder skips what is no marker in the same way
            start, at = at + 2, at + int.from_bytes(data[at : at + 2], "big")
            yield marker, start, max(start, at)
    _check_count(MAX_PARTS + 1, MAX_PARTS, "segments in a JPEG file")


def jpeg(data: bytes) -> Contents:
    """Contents of a JPEG file; of several pictures in it, the first.

    Raises:
        ImageRejected: too many segments or scans.
        ValueError: no frame or no scan, or two frames.
    """
    kept, exif, frames, scans, first = [data[:2]], b"", [], 0, 0
    for marker, start, end in _segments(data):
        payload = data[start:end]
        if marker == SOS:
            scans += 1
            first = first or start - 4
            _check_count(scans, MAX_SCANS, "scans in a JPEG file")
        elif marker in FRAMES:
            frames.append((marker, payload))
        elif marker == APP1 and not exif and payload.startswith(b"Exif\0\0"):
            exif = payload
        is_colour = (marker, payload[:5]) in ((APP0, b"JFIF\0"), (APP14, b"Adobe"))
        if not scans and (marker in (*TABLES, *FRAMES) or is_colour):
            kept.append(data[start - 4 : end])
    if len(frames) != 1 or not scans:
        raise ValueError(f"one frame and at least one scan are needed, not {len(frames)}, {scans}")
    marker, frame = frames[0]
    blocks, components = _blocks(frame)
    # in one scan after another, all coefficients are kept until the last one is read
    several = marker not in (0xC0, 0xC1) or data[first + 4] < components
    return Contents(
        b"".join([*kept, memoryview(data)[first:]]),
        orientation(exif),
        workspace=BLOCK_BYTES * blocks if several else 0,
        blocks=blocks * scans,
        scalable=marker in SCALABLE,
    )


def _blocks(frame: bytes) -> tuple[int, int]:
    """How many 8 × 8 blocks a JPEG frame holds, with those that fill up its edges; components."""
    height, width, components = struct.unpack_from(">HHB", frame, 1)
    samplings = [divmod(frame[7 + 3 * n], 16) for n in range(components)]
    across, down = (max([1, *side]) for side in zip(*samplings, strict=True))
    total = 0
    for h, v in samplings:  # h × v blocks of each component make a unit, and units are whole
        units = math.ceil(width / (8 * across)) * math.ceil(height / (8 * down))
        total += units * h * v
    return total, components


# --- PNG -------------------------------------------------------------------------------------

KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def png(data: bytes) -> Contents:
    """Contents of a PNG file, whose checksums are compared; of an animation, its still picture.

    Raises:
        ImageRejected: too many chunks or frames.
        ValueError, struct.error: damaged, or without an end.
    """
    at, exif, view = 8, b"", memoryview(data)
    kept = [view[:8]]
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[at + 4 : end - 4]) != checksum:
            raise ValueError(f"wrong checksum in its chunk {kind!r}")
        if kind in KEPT:
            kept.append(view[at:end])
        elif kind == b"eXIf":
            exif = exif or data[at + 8 : end - 4]
        elif kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, at + 8)
            _check_count(frames, MAX_FRAMES, "frames")
        if kind == b"IEND":
            break
        at = end
    else:
        _check_count(MAX_PARTS + 1, MAX_PARTS, "chunks in a PNG file")
    return Contents(b"".join(kept), orientation(exif))


# --- GIF -------------------------------------------------------------------------------------


SEPARATOR = re.compile(rb"[!,;]")  # before an extension, before a frame, at the end


def _after_blocks(data: bytes, at: int) -> int:
    """Where a chain of sub-blocks that begins at `at` ends; past the end of a cut file."""
    size = len(data)
    while at < size and (length := data[at]):
        at += length + 1
    return at + 1


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0  # bytes of a colour table


def gif(data: bytes) -> Contents:
    """Contents of a GIF file: its first frame, on a screen that holds it.

    Raises:
        ImageRejected: too many frames.
        ValueError, IndexError: no frame.
    """
    head = 13 + _colours(data[10])
    at, control, frame, frames = head, b"", None, 0
    for _ in range(MAX_PARTS):
        found = SEPARATOR.search(data, at)  # as Pillow, past what is none
        if found is None or found[0] == b";":
            break
        start = found.start()
        if found[0] == b"!":
            at = _after_blocks(data, start + 2)
            if data[start + 1 : start + 2] == b"\xf9" and at - start == 8 and not frame:
                control = data[start:at]  # says what is transparent
            continue
        frames += 1
        _check_count(frames, MAX_FRAMES, "frames")
        flags = data[start + 9] if start + 9 < len(data) else 0
        at = _after_blocks(data, start + 11 + _colours(flags))
        frame = frame or (start, at)
    else:
        _check_count(MAX_PARTS + 1, MAX_PARTS, "blocks in a GIF file")
    if frame is None:
        raise ValueError("there is no frame in it")
    across, down = struct.unpack_from("<HH", data, 6)
    left, top, width, height = struct.unpack_from("<4H", data, frame[0] + 1)
    screen = max(across, left + width), max(down, top + height)
    if max(screen) > 65_535:
        raise ValueError(f"its first frame ends at {screen[0]} × {screen[1]}")
    parts = (data[:6], struct.pack("<HH", *screen), data[10:head], control)
    return Contents(b"".join([*parts, memoryview(data)[slice(*frame)], b";"]))


# --- WebP and BMP ----------------------------------------------------------------------------


def webp(data: bytes) -> Contents:
    """Contents of a WebP file, kept whole: libwebp passes over what the picture does not need.

    Raises:
        ImageRejected: too many chunks or frames.
    """
    at, exif, frames = 12, b"", 0
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            exif = exif or data[at + 8 : at + 8 + length]
        frames += kind == b"ANMF"
        at += 8 + length + length % 2
    else:
        _check_count(MAX_PARTS + 1, MAX_PARTS, "chunks in a WebP file")
    _check_count(frames, MAX_FRAMES, "frames")
    # two canvases of the animation decoder and its answer, 4 bytes each; it copies the file
    return Contents(data, orientation(exif), canvases=12, workspace=len(data))


def bmp(data: bytes) -> Contents:
    """Contents of a BMP file.

    Raises:
        ImageRejected: it is compressed and too large.
        struct.error: the header is cut.
    """
    (size,) = struct.unpack_from("<I", data, 14)
    if size < 40:
        return Contents(data)
    width, height = (abs(side) for side in struct.unpack_from("<ii", data, 18))
    (compression,) = struct.unpack_from("<I", data, 30)
    if compression not in (1, 2):
        return Contents(data)
    if width * height > RLE_PIXELS or len(data) > RLE_BYTES:
        raise ImageRejected(
            f"expected at most {RLE_PIXELS:,} pixels and {RLE_BYTES:,} bytes in a BMP file of run "
            f"lengths, got {width} × {height} and {len(data):,}; save it as PNG"
        )
    return Contents(data, canvases=4)


CONTAINERS: dict[str, Callable[[bytes], Contents]] = {
    "JPEG": jpeg,
    "PNG": png,
    "WebP": webp,
    "GIF": gif,
    "BMP": bmp,
}
