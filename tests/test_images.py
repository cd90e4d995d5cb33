"""Decoding of real files of every kind, the conversions, PNG encoding, and the examples."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2 as tv

from nls_core.data.datasets import DEBIAN_FASHION, FASHION_CLASSES
from nls_core.errors import ImageRejected, InvalidInput, TooLarge
from nls_core.images import PREPROCESS, decode_image
from nls_core.views.raster import png_bytes, png_data_uri

EXAMPLES = Path(__file__).resolve().parent.parent / "static" / "examples"
ENTRIES = json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))
FASHION = [entry for entry in ENTRIES if entry["family"] == "fashion"]
PHOTOS = [entry for entry in ENTRIES if entry["family"] == "photos"]
OBJECT_CLASSES = (
    *("animal", "building", "clothing", "food"),
    *("household", "music", "plant", "vehicle"),
)
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}}


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


# --- decoding -----------------------------------------------------------------------------


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


# --- the conversion of Fashion-MNIST --------------------------------------------------------


def on_white(box: tuple[int, int, int, int], size: tuple[int, int], colour: str) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    picture.paste(colour, box)
    return picture


@pytest.mark.parametrize("entry", FASHION, ids=lambda entry: entry["file"])
def test_examples_convert(entry: dict[str, str]) -> None:
    image = decode_image((EXAMPLES / entry["file"]).read_bytes())
    prepared = PREPROCESS["fashion"](image, 28, 1)
    x = prepared.x[0, 0].numpy()
    if image.size == (28, 28):  # one of the data set's own: not a bit changes
        np.testing.assert_array_equal(x, np.asarray(image)[..., 0].astype(np.float32) / 255)
        assert prepared.notes == ()
        assert prepared.geometry.box == (0, 0, 28, 28)
    else:  # the object reaches two opposite edges and stands on black
        assert (max(x[0].max(), x[:, 0].max()), max(x[-1].max(), x[:, -1].max())) > (0.1, 0.1)
        assert np.median(np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]])) == 0
        assert x.mean() > 0.1
        assert any("inverted" in note for note in prepared.notes)


@pytest.mark.parametrize("edge", [56, 280, 301, 500])
def test_enlarged_examples_convert_back(edge: int) -> None:
    for entry in FASHION:
        image = decode_image((EXAMPLES / entry["file"]).read_bytes())
        if image.size == (28, 28):
            large = image.resize((edge, edge), Image.Resampling.NEAREST)
            for data, bound in ((encode(large), 2), (encode(large, "JPEG", quality=90), 4)):
                x = PREPROCESS["fashion"](decode_image(data), 28, 1).x[0, 0].numpy() * 255
                assert np.abs(x - np.asarray(image)[..., 0]).mean() < bound, entry["file"]


def test_geometry_by_hand() -> None:
    tall = PREPROCESS["fashion"](on_white((100, 50, 160, 170), (300, 200), "navy"), 28, 1)
    assert (tall.geometry.width, tall.geometry.height) == (300, 200)
    assert tall.geometry.box == pytest.approx((70, 50, 190, 170))  # 60 × 120 -> 14 × 28, 7 a side
    np.testing.assert_array_equal(tall.x[0, 0, :, :7], 0)
    np.testing.assert_array_equal(tall.x[0, 0, :, 21:], 0)
    assert (tall.x[0, 0, :, 7:21] > 0.9).all()
    wide = PREPROCESS["fashion"](on_white((0, 0, 280, 40), (280, 90), "navy"), 28, 1)
    assert wide.geometry.box == pytest.approx((0, -120, 280, 160))  # beyond the picture's top
    odd = PREPROCESS["fashion"](on_white((10, 10, 40, 66), (100, 100), "navy"), 28, 1)
    assert odd.geometry.box == pytest.approx((10 - 6 * 2, 10, 10 + 22 * 2, 66))  # 15 wide: 6 and 7


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)), st.integers(0, 9), st.sampled_from([1, 3])
)
def test_any_picture_has_an_input(size: tuple[int, int], seed: int, channels: int) -> None:
    picture = random_picture(*size, seed)
    for name, convert in PREPROCESS.items():
        prepared = convert(picture, 28, channels)
        assert prepared.x.shape == (1, channels, 28, 28)
        assert prepared.x.dtype == torch.float32
        assert 0 <= prepared.x.min() <= prepared.x.max() <= 1
        left, top, right, bottom = prepared.geometry.box
        assert (prepared.geometry.width, prepared.geometry.height) == size
        if name == "fashion":  # no part of the picture that differs from its border is lost
            assert max(right - left, bottom - top) <= 28 * max(size)
        else:  # the crop is inside, and central up to half a pixel of the resized picture
            assert -1e-6 <= left < right <= size[0] + 1e-6
            assert -1e-6 <= top < bottom <= size[1] + 1e-6
            assert abs(left + right - size[0]) <= 1.01 * size[0] / 32 + 1e-6


def test_negation_follows_the_background() -> None:
    white = on_white((60, 60, 140, 140), (200, 200), "darkred")
    black = Image.new("RGB", (200, 200), "black")
    black.paste("gold", (60, 60, 140, 140))
    bright, dark = (PREPROCESS["fashion"](picture, 28, 1) for picture in (white, black))
    red = 139 * 299 / 1000 / 255  # the luma of darkred
    assert float(bright.x.median()) == pytest.approx(1 - red, abs=0.005)
    assert float(dark.x.median()) > 0.7  # gold stays bright
    assert [any("inverted" in note for note in p.notes) for p in (bright, dark)] == [True, False]
    assert all(any("trimmed" in note for note in p.notes) for p in (bright, dark))


def test_grey_dark_on_white_of_the_data_sets_size_is_negated() -> None:
    picture = on_white((7, 0, 21, 28), (28, 28), "black")
    x = PREPROCESS["fashion"](picture, 28, 1).x[0, 0]
    assert x[:, :7].max() == 0
    assert x[:, 7:21].min() == 1


def test_product_photo_as_jpeg() -> None:
    generator = np.random.default_rng(0)
    picture = np.asarray(on_white((120, 200, 420, 380), (640, 600), "teal")).astype(float)
    noisy = np.clip(picture + generator.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    image = decode_image(encode(Image.fromarray(noisy), "JPEG", quality=70))
    prepared = PREPROCESS["fashion"](image, 28, 1)
    assert prepared.geometry.box[0] == pytest.approx(120, abs=8)  # blocks of 8 pixels
    assert prepared.geometry.box[2] == pytest.approx(420, abs=8)
    x = prepared.x[0, 0]
    assert x[0].max() <= 3 / 255  # padding with the background, white but for the noise
    assert x[10:18].median() == pytest.approx(1 - (128 * 587 + 128 * 114) / 255000, abs=0.03)


def test_specks_of_dust_are_no_content() -> None:
    picture = on_white((200, 200, 400, 400), (600, 600), "navy")
    picture.putpixel((3, 5), (0, 0, 0))
    picture.putpixel((590, 580), (0, 0, 0))
    assert PREPROCESS["fashion"](picture, 28, 1).geometry.box == (200, 200, 400, 400)


def test_one_colour_is_kept_whole() -> None:
    cases: list[tuple[Any, float]] = [("white", 0), ("black", 0), ((60, 60, 60), 60 / 255)]
    for colour, value in cases:
        prepared = PREPROCESS["fashion"](Image.new("RGB", (50, 100), colour), 28, 1)
        assert float((prepared.x - value).abs().max()) < 1e-6
        assert "kept whole" in prepared.notes[0]
        assert prepared.geometry.box == (-25, 0, 75, 100)


def test_sharpening_is_that_of_the_formula() -> None:
    """One dot of the picture's own scale: the centre gains what the neighbours lose."""
    picture = np.full((28, 28, 3), 128, dtype=np.uint8)
    picture[[0, 0, -1, -1], [0, -1, 0, -1]] = 0  # dark corners, so nothing is negated
    picture[14, 14] = (138, 138, 142)
    picture[5, 5] = (255, 128, 0)  # a colour, so it is no image of the data set
    x = PREPROCESS["fashion"](Image.fromarray(picture), 28, 1).x[0, 0] * 255
    total = (1 + 2 * np.exp(-0.5)) ** 2
    assert float(x[14, 14]) == pytest.approx(128 + 10 * 2 * total / (total + 1), abs=1)
    assert float(x[14, 15]) == pytest.approx(128 - 10 * np.exp(-0.5) / (total + 1), abs=1)
    assert float(x[20, 20]) == 128


# --- the centre crop ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [(300, 200), (200, 301), (640, 480), (100, 150), (224, 224)])
def test_center_crop_is_torchvisions(size: tuple[int, int]) -> None:
    picture = smooth_picture(*size)
    bicubic = tv.InterpolationMode.BICUBIC
    reference = tv.CenterCrop(224)(tv.Resize(256, interpolation=bicubic)(picture))
    prepared = PREPROCESS["center-crop"](picture, 224, 3)
    difference = (prepared.x[0] * 255).permute(1, 2, 0).numpy() - np.asarray(reference)
    assert np.abs(difference).max() < 3
    grey = PREPROCESS["center-crop"](picture, 224, 1).x[0, 0].numpy() * 255
    assert np.abs(grey - np.asarray(reference.convert("L"))).max() < 3


def test_center_crop_geometry() -> None:
    prepared = PREPROCESS["center-crop"](Image.new("RGB", (512, 1024)), 224, 3)
    assert prepared.geometry.box == pytest.approx((32, 288, 480, 736))
    narrow = PREPROCESS["center-crop"](Image.new("RGB", (1, 100_000)), 224, 3)
    assert narrow.x.shape == (1, 3, 224, 224)


@pytest.mark.parametrize("name", PREPROCESS)
@pytest.mark.parametrize(
    ("mode", "size", "channels"), [("L", 28, 1), ("RGB", 0, 1), ("RGB", 28, 2)]
)
def test_wrong_use(name: str, mode: str, size: int, channels: int) -> None:
    with pytest.raises(InvalidInput, match=f"got {mode}, {size} and {channels}"):
        PREPROCESS[name](Image.new(mode, (9, 9)), size, channels)


# --- PNG ----------------------------------------------------------------------------------


def test_png_round_trip() -> None:
    colour = np.asarray(random_picture())
    for array, expected in (
        (colour, colour),
        (colour[..., 0], colour[..., 0]),
        (colour.transpose(2, 0, 1) / 255, colour),
        ((colour / 255).astype(np.float32).transpose(2, 0, 1)[:1], colour[..., 0]),
    ):
        data = png_bytes(array)
        read = np.asarray(Image.open(io.BytesIO(data), formats=["PNG"]))
        np.testing.assert_array_equal(read, expected)
        kind, text = png_data_uri(array).split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(text, validate=True) == data


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((2, 4, 4), np.float32),
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.int64),
        np.full((1, 4, 4), 1.01),
        np.full((1, 4, 4), -0.01),
        np.full((3, 4, 4), np.nan),
        np.zeros((3, 0, 4)),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_png_refuses(array: NDArray[Any]) -> None:
    with pytest.raises(InvalidInput, match=r"expected \(H, W\).*got \("):
        png_bytes(array)


# --- the bundled examples -----------------------------------------------------------------


def test_examples_are_complete() -> None:
    assert len(FASHION) >= 14
    assert {entry["label"] for entry in FASHION} == set(FASHION_CLASSES)
    assert len(PHOTOS) >= 12
    assert {entry["label"] for entry in PHOTOS} == {*OBJECT_CLASSES, ""}  # "": of none of them
    assert len(FASHION) + len(PHOTOS) == len(ENTRIES)
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("*/*")}
    masks = {entry["mask"] for entry in PHOTOS if "mask" in entry}
    assert len(masks) >= 3
    assert {entry["file"] for entry in ENTRIES} | masks == files
    assert len({entry["title"] for entry in ENTRIES}) == len(ENTRIES)
    # the page knows an example by its file name
    assert len({entry["file"].rpartition("/")[2] for entry in ENTRIES}) == len(ENTRIES)
    credits = (EXAMPLES / "CREDITS.md").read_text(encoding="utf-8")
    assert all(f"`{entry['file']}`: {entry['credit']}" in credits for entry in ENTRIES)


@pytest.mark.parametrize("entry", PHOTOS, ids=lambda entry: entry["file"])
def test_photographs_are_small_and_without_metadata(entry: dict[str, str]) -> None:
    data = (EXAMPLES / entry["file"]).read_bytes()
    image = decode_image(data)
    assert len(data) <= 150_000
    assert 128 <= min(image.size) <= max(image.size) <= 1024
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as stored:
        assert not stored.getexif()


@pytest.mark.skipif(not DEBIAN_FASHION.exists(), reason="needs Debian's dataset-fashion-mnist")
def test_examples_are_test_images() -> None:
    def read(name: str, header: int) -> NDArray[np.uint8]:
        data = gzip.decompress((DEBIAN_FASHION / name).read_bytes())
        return np.frombuffer(data, np.uint8, offset=header)

    images = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = read("t10k-labels-idx1-ubyte.gz", 8)
    for entry in FASHION:
        if entry["file"].endswith(".png"):
            index = int(entry["credit"].rpartition(" ")[2])
            picture = decode_image((EXAMPLES / entry["file"]).read_bytes())
            np.testing.assert_array_equal(np.asarray(picture)[..., 0], images[index])
            assert FASHION_CLASSES[labels[index]] == entry["label"]
