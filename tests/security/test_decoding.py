"""Hostile picture files are refused at once and cheaply; odd ones give the picture they hold."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from nls_core import images
from nls_core.decode import BUDGET, decode_image, decode_mask
from nls_core.errors import ImageRejected, TooLarge
from nls_core.settings import ROOT
from tests.helpers.scripts import script
from tests.security import building as made
from tests.security import corpus

FUZZER = script("fuzz_decoder")
SECONDS = 3.0  # of processor time, for any file: the clock would tell how busy the machine is


def refused(data: bytes) -> str:
    """Why a file was refused; "" where it was accepted."""
    begin = time.thread_time()
    try:
        decode_image(data)
        reason = ""
    except (ImageRejected, TooLarge) as error:
        reason = str(error)
    assert time.thread_time() - begin < SECONDS
    return reason


def test_hostile_files_are_refused() -> None:
    files = list(corpus.hostile())
    assert len(files) >= 500
    assert len({name for name, _ in files}) == len(files)
    answers = {name: refused(data) for name, data in files}
    assert [name for name, reason in answers.items() if not reason] == []
    assert [reason for reason in answers.values() if len(reason) > 400] == []


def test_odd_files_give_their_picture() -> None:
    for name, data, expected in corpus.odd():
        begin = time.thread_time()
        got = np.asarray(decode_image(data))
        assert time.thread_time() - begin < SECONDS, name
        np.testing.assert_array_equal(got, expected, name)


def test_flipped_bits_give_a_picture_or_a_refusal() -> None:
    for _, data in corpus.uncertain():
        refused(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (made.png(40_000_000, 1, 1, 0), "sides of at most 16,384 pixels, got 40000000 × 1"),
        (made.png(8_192, 4_800, data=b""), "141 MB of memory, got 8192 × 4800 pixels of mode RGB"),
        (made.scans(3_000), "at most 64 scans"),
        (made.idle_scans(4_096, 4_096, 62), "fewer passes"),
        (made.apng(1_001), "at most 1,000 frames"),
        (made.bmp(16_384, 300, 8, 1), "BMP file of run lengths, got 16384 × 300"),
    ],
)
def test_refusals_say_what_to_do(data: bytes, reason: str) -> None:
    assert reason in (answer := refused(data))
    assert any(advice in answer for advice in ("scale the picture down", "save"))


def test_a_jpeg_is_read_in_as_many_scans_as_encoders_write() -> None:
    assert decode_image(made.scans(50)).size == (64, 64)
    assert decode_image(made.idle_scans(4_096, 4_096, 30)).size == (4_096, 4_096)


# --- memory ---------------------------------------------------------------------------------


def flat(width: int, height: int, kind: str, mode: str = "RGB", **options: object) -> bytes:
    return made.encode(Image.new(mode, (width, height)), kind, **options)


MOST = 150_000_000  # bytes above rest


def largest() -> dict[str, bytes]:
    """For each format and mode a file close to the most that is accepted; of each shape once."""
    turned = made.chunk(b"eXIf", made.oriented(6).tobytes()[6:])
    plain = [(8, 2, 32.5), (1, 0, 28), (8, 0, 28), (8, 3, 28), (16, 0, 23), (8, 4, 17.5)]
    plain += [(8, 6, 17.5), (16, 2, 32.5), (16, 4, 17.5), (16, 6, 17.5)]
    files = {}
    widths = itertools.cycle((4_096, 16_384, 2_048))
    for (depth, colour, millions), width in zip(plain, widths, strict=False):
        height = int(0.925 * millions * 1e6) // width
        files[f"PNG {depth},{colour}"] = made.png(width, height, depth, colour)
    files["PNG turned"] = made.png(4_096, 4_019, before=turned)
    files["PNG wide and turned"] = made.png(16_384, 1_000, before=turned)
    files["PNG interlaced"] = made.png(4_000, 7_480, data=made.zeros(96_100_000), interlace=1)
    files["JPEG"] = flat(4_000, 7_480, "JPEG")
    files["JPEG of 48 million"] = flat(8_064, 5_836, "JPEG")
    files["JPEG turned"] = flat(4_096, 4_019, "JPEG", exif=made.oriented(5))
    files["JPEG progressive 4:4:4"] = flat(4_080, 2_856, "JPEG", progressive=True, subsampling=0)
    files["JPEG progressive"] = flat(8_064, 4_240, "JPEG", progressive=True)
    files["JPEG scaled to 1/8"] = flat(16_384, 15_440, "JPEG")
    files["JPEG CMYK"] = flat(4_000, 4_019, "JPEG", "CMYK")
    files["WebP"] = flat(3_264, 2_569, "WEBP", method=0)
    files["WebP lossless"] = flat(3_264, 2_569, "WEBP", "RGBA", lossless=True, method=0)
    files["GIF"] = made.encode(Image.new("P", (5_000, 5_047)), "GIF")
    files["BMP"] = flat(3_330, 965, "BMP")
    files["BMP of 1 bit"] = flat(5_000, 5_047, "BMP", "1")
    files["BMP of runs"] = made.bmp(2_000, 2_000, 8, 1, (b"\xfa\x07" * 8 + b"\0\0") * 2_000)
    return files


def test_the_largest_pictures_take_at_most_150_mb(tmp_path: Path) -> None:
    for name, data in (largest() | {k: v for k, (_, v) in corpus.bloated().items()}).items():
        (tmp_path / name.replace("/", " ")).write_bytes(data)
    command = [sys.executable, "scripts/try_images.py", str(tmp_path), "--json"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    tried = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [one["name"] + one["outcome"] for one in tried if one["outcome"] != "accepted"] == []
    assert [one for one in tried if one["peak"] > MOST or one["seconds"] > SECONDS] == []
    assert answer.returncode == 0, answer.stderr
    assert max(one["peak"] for one in tried) > 0.8 * BUDGET  # so it is the worst that was measured


def test_large_jpegs_are_read_at_half_their_size() -> None:
    data = flat(8_064, 6_048, "JPEG")
    assert decode_image(data, max_pixels=48_780_000).size == (4_032, 3_024)
    assert decode_image(flat(4_032, 3_024, "JPEG")).size == (4_032, 3_024)


# --- the same results ------------------------------------------------------------------------


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """A sound file with bytes changed, cut out, doubled or put in at some places."""
    data = draw(st.sampled_from([*corpus.sound().values()]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 64)))
        middle = draw(st.one_of(st.binary(max_size=16), st.just(data[at:end] * 2)))
        data = data[:at] + middle + data[end:]
    return data


@settings(deadline=None, max_examples=200)
@given(mutants())
def test_mutants_are_pictures_or_refused(data: bytes) -> None:
    assert FUZZER.tried(FUZZER.mended(data)) in ("picture", "refused")


def test_mended_files_have_right_checksums() -> None:
    mended = FUZZER.mended
    png = corpus.sound()["PNG RGB"]
    assert mended(png[:29] + b"abcd" + png[33:]) == png
    assert mended(png[:20]) == png[:20]
    assert mended(b"GIF89a") == b"GIF89a"


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3_000), st.integers(1, 3_000))
def test_thumbnails_are_pillows(width: int, height: int) -> None:
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    expected = picture.copy()
    expected.thumbnail((512, 512))
    np.testing.assert_array_equal(images.thumbnail(picture), np.asarray(expected))


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = made.noise(60, 45)
    picture.paste("navy", (0, 0, 60, 9))
    mask = made.encode(made.noise(60, 45, "LA"))
    whole = [convert(picture, 28, 1) for convert in images.PREPROCESS.values()]
    marked = decode_mask(mask)
    monkeypatch.setattr("nls_core.decode.STRIP", 130)  # two rows
    for convert, before in zip(images.PREPROCESS.values(), whole, strict=True):
        after = convert(picture, 28, 1)
        assert after.geometry == before.geometry
        assert (after.x == before.x).all()
    assert (decode_mask(mask) == marked).all()
    test_odd_files_give_their_picture()


@pytest.mark.parametrize("action", ["error", "always"])
def test_no_thread_warns_whatever_the_filters(action: str) -> None:
    """Decoders get no metadata, so they have nothing to warn of and no filter needs changing."""
    jpeg = made.encode(
        made.noise(9, 9), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"
    )
    twice = made.chunk(b"acTL", bytes(8)) * 2
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(action)  # type: ignore[arg-type]
        with ThreadPoolExecutor(4) as pool:
            sizes = set(
                pool.map(lambda d: decode_image(d).size, [jpeg, made.png(9, 9, before=twice)] * 9)
            )
    assert sizes == {(9, 9)}
    assert seen == []


def test_a_slow_picture_holds_up_no_other() -> None:
    """Where a lock was held, the small picture waited for the large one."""
    slow, small = made.idle_scans(4_096, 4_096, 40), made.encode(made.noise(9, 9))
    begun = threading.Event()

    def run() -> None:
        begun.set()
        decode_image(slow)

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    time.sleep(0.1)
    waited: list[float] = []
    while thread.is_alive():
        begin = time.perf_counter()
        decode_image(small)
        waited.append(time.perf_counter() - begin)
    thread.join()
    assert len(waited) > 20
