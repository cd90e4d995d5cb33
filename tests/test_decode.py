"""Decoding of real files of every kind, and what is refused."""

from __future__ import annotations

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from PIL import Image

from nls_core.errors import ImageRejected, TooLarge
from nls_core.images import decode_image
from tests.helpers.pictures import encode, one_pixel, pixels, random_picture, smooth_picture

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    picture = random_picture()
    np.testing.assert_array_equal(
        pixels(decode_image(encode(picture, kind, **LOSSLESS[kind]))), pixels(picture)
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("MPO", {}), ("GIF", {})],
)
def test_lossy_formats_are_close(kind: str, options: dict[str, Any]) -> None:
    picture = smooth_picture()
    decoded = decode_image(encode(picture, kind, **options))
    assert np.abs(pixels(decoded) - pixels(picture)).mean() < 6


@pytest.mark.parametrize("kind", ["GIF", "MPO", "PNG", "WEBP"])
def test_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    red, green, blue = decode_image(data).getpixel((5, 5))  # type: ignore[misc]  # RGB
    assert red > 250
    assert max(green, blue) < 5


def test_modes_by_hand() -> None:
    assert one_pixel("1", 1) == (255, 255, 255)
    assert one_pixel("L", 77) == (77, 77, 77)
    assert one_pixel("LA", (0, 128)) == (127, 127, 127)
    assert one_pixel("RGBA", (255, 0, 0, 0)) == (255, 255, 255)
    assert one_pixel("RGBA", (255, 0, 0, 255)) == (255, 0, 0)
    assert one_pixel("RGBA", (0, 0, 255, 51)) == (204, 204, 255)  # 0.8 of white shines through
    assert one_pixel("L", 77, transparency=77) == (255, 255, 255)
    assert one_pixel("RGB", (1, 2, 3), transparency=(1, 2, 3)) == (255, 255, 255)
    assert one_pixel("RGB", (1, 2, 3), transparency=(1, 2, 4)) == (1, 2, 3)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency(kind: str, transparency: int | bytes) -> None:
    if kind == "GIF" and isinstance(transparency, bytes):
        transparency = 1  # all that GIF has
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    decoded = decode_image(encode(picture, kind, transparency=transparency))
    expected = [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    np.testing.assert_array_equal(pixels(decoded), expected)


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (128, 0), (129, 1), (257, 1), (128 * 257, 128), (65535, 255)]
)
def test_16_bit_grey(value: int, expected: int) -> None:
    picture = Image.fromarray(np.full((2, 3), value, dtype=np.uint16))
    assert picture.mode == "I;16"
    assert decode_image(encode(picture)).getpixel((0, 0)) == (expected,) * 3


def test_16_bit_grey_with_a_key_colour() -> None:
    picture = Image.fromarray(np.array([[0, 5140, 65535]], dtype=np.uint16))
    decoded = decode_image(encode(picture, transparency=5140))
    assert pixels(decoded)[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    ("bit_depth", "channels", "data"), [(16, 2, b"\xff\xff\0\0\xff"), (2, 0, b"\0\xff")]
)
def test_16_bit_colour_and_few_bits(bit_depth: int, channels: int, data: bytes) -> None:
    rows = b"\0" + data[1:] if channels == 0 else b"\0\xff\xff\x80\0\0\0"  # filter byte, pixel
    header = struct.pack(">IIBBBBB", 1, 1, bit_depth, channels, 0, 0, 0)
    colour = decode_image(raw_png(header, zlib.compress(rows))).getpixel((0, 0))
    assert colour == ((255, 128, 0) if channels == 2 else (255, 255, 255))


def raw_png(header: bytes, data: bytes) -> bytes:
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_cmyk_jpeg_of_adobe() -> None:
    picture = smooth_picture()
    data = encode(picture.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data  # so its inks are stored inverted
    assert np.abs(pixels(decode_image(data)) - pixels(picture)).mean() < 4


def stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The pixels of a file of that EXIF orientation, from the standard's figure."""
    turned = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}[orientation]
    rotated = np.rot90(upright, turned)
    mirrored = orientation in (2, 4, 5, 7)
    if not mirrored:
        return rotated
    return rotated[:, ::-1] if orientation in (2, 4) else rotated[::-1]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, kind: str) -> None:
    upright = np.asarray(smooth_picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(stored(upright, orientation)))
    options = {"quality": 95} if kind == "JPEG" else LOSSLESS[kind]
    decoded = pixels(decode_image(encode(picture, kind, exif=exif, **options)))
    assert decoded.shape == upright.shape
    assert np.abs(decoded - upright).mean() < (3 if kind == "JPEG" else 1e-9)


def test_stored_is_the_standard() -> None:
    letters = np.array([["a", "b"], ["c", "d"], ["e", "f"]])
    assert stored(letters, 6).tolist() == [["b", "d", "f"], ["a", "c", "e"]]  # shown turned right
    assert stored(letters, 5).tolist() == letters.T.tolist()
    assert stored(letters, 4).tolist() == letters[::-1].tolist()


def test_damaged_exif_is_no_reason_to_refuse() -> None:
    picture = smooth_picture()
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"  # promises 65,535 entries
    decoded = decode_image(encode(picture, "JPEG", exif=exif))
    assert decoded.size == picture.size


# --- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "got 0 bytes"),
        (b"hello", "got 5 bytes that begin b'hello'"),
        (b'<?xml version="1.0"?><svg/>', "type SVG"),
        (b"\n<svg xmlns=''/>", "type SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "type HEIC"),
        (b"%PDF-1.7", "type PDF"),
        (encode(smooth_picture(), "TIFF"), "type TIFF"),
        (encode(smooth_picture(), "PPM"), "expected an image file of type JPEG, PNG"),
        (b"BM", "a whole BMP file"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a whole WebP file"),
        (b"GIF89a\0\0\0\0\0\0\0;", "GIF"),
    ],
)
def test_not_an_image(data: bytes, reason: str) -> None:
    with pytest.raises(ImageRejected, match=reason):
        decode_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(kind: str, share: float) -> None:
    data = encode(random_picture(64, 64), kind)
    assert decode_image(data).size == (64, 64)
    with pytest.raises(ImageRejected, match=r"damaged one .*save it again"):
        decode_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("chunk", [b"IHDR", b"IDAT"])
def test_damaged_checksum(chunk: bytes) -> None:
    data = bytearray(encode(random_picture()))
    at = data.index(chunk)
    (length,) = struct.unpack(">I", data[at - 4 : at])
    data[at + 4 + length] ^= 1  # the first byte of the checksum; the pixels are sound
    with pytest.raises(ImageRejected, match="damaged one"):
        decode_image(bytes(data))


def test_byte_cap() -> None:
    data = encode(random_picture())
    assert decode_image(data, max_bytes=len(data)).size == (12, 8)
    with pytest.raises(TooLarge, match=rf"at most {len(data) - 1:,} bytes, got {len(data):,}"):
        decode_image(data, max_bytes=len(data) - 1)


def test_pixel_cap() -> None:
    data = encode(random_picture(12, 8))
    assert decode_image(data, max_pixels=96).size == (12, 8)
    with pytest.raises(ImageRejected, match="1 to 95 pixels, got 12 × 8"):
        decode_image(data, max_pixels=95)


BOMBS = {
    "PNG": raw_png(struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0), b""),
    "BMP": b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6),
    "JPEG": encode(smooth_picture(48, 32), "JPEG").replace(
        struct.pack(">HH", 32, 48), struct.pack(">HH", 60000, 60000)
    ),
}


@pytest.mark.parametrize("limit", [None, 10, 10**12])
@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_by_their_header(
    kind: str, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ImageRejected, match="40,000,000 pixels, got 60000 × 60000"):
        decode_image(BOMBS[kind])
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    "limit", [1, 60]
)  # Pillow itself raises over twice that, and warns over it
def test_pillows_own_limit_does_not_count(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    filters = list(warnings.filters)
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        assert decode_image(encode(random_picture(12, 8), kind)).size == (12, 8)
    assert warnings.filters == filters


def test_threads_leave_the_warning_filters() -> None:
    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda data: decode_image(data).size, VALID[:4] * 20))
    assert sizes[:4] == sizes[-4:]
    assert warnings.filters == filters


def decodes_or_rejects(data: bytes) -> None:
    try:
        image = decode_image(data, max_pixels=100_000)
    except ImageRejected:
        return
    assert image.mode == "RGB"
    assert 1 <= image.width * image.height <= 100_000


START = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\x40\0\0\0WEBP")


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(START), st.binary(max_size=200))
def test_random_bytes(start: bytes, data: bytes) -> None:
    decodes_or_rejects(start + data)


def with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    return encode(smooth_picture(), "JPEG", exif=exif)


VALID = [
    with_exif(),
    encode(random_picture()),
    encode(random_picture(), "BMP"),
    encode(random_picture(), "WEBP"),
    encode(random_picture(), "GIF", save_all=True, append_images=[random_picture(seed=1)]),
    encode(random_picture(), "PNG", save_all=True, append_images=[random_picture(seed=1)]),
    encode(random_picture().convert("P"), "PNG", transparency=b"\0\x80"),
    encode(smooth_picture(), "MPO", save_all=True, append_images=[smooth_picture()]),
]


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), max_size=4),
)
def test_mutated_files(data: bytes, edits: list[tuple[float, bytes, int]]) -> None:
    for where, inserted, removed in edits:
        at = int(where * len(data))
        data = data[:at] + inserted + data[at + removed :]
    decodes_or_rejects(data)
