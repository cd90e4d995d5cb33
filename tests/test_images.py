"""The conversions of pictures to what models see, and the examples."""

from __future__ import annotations

import gzip
import io
import json
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
from nls_core.errors import InvalidInput
from nls_core.images import PREPROCESS, decode_image
from tests.helpers.pictures import encode, random_picture, smooth_picture

EXAMPLES = Path(__file__).resolve().parent.parent / "static" / "examples"
ENTRIES = json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))
FASHION = [entry for entry in ENTRIES if entry["family"] == "fashion"]
PHOTOS = [entry for entry in ENTRIES if entry["family"] == "photos"]
OBJECT_CLASSES = (
    *("animal", "building", "clothing", "food"),
    *("household", "music", "plant", "vehicle"),
)


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
