"""The build of everyday-objects: what is chosen, how it is cut out, and that it is repeatable."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nls_core.data import stamps
from nls_core.errors import DatasetMissing, ExtraMissing, InvalidInput
from tests.helpers.stamps import FOLDERS, lay_out, png, svg


@pytest.fixture(autouse=True)
def no_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine has for backgrounds is no part of a test."""
    monkeypatch.setitem(stamps.SELECTION, "photos", {})


def sources(folder: Path) -> set[str]:
    return {stamp.source for stamp in stamps.find(folder)}


# ---------------------------------------------------------------- the choice


def test_every_class_takes_the_stamps_of_its_folders(tmp_path: Path) -> None:
    found = stamps.find(lay_out(tmp_path, each=2))
    assert len(found) == 16
    for stamp in found:
        assert stamp.source.startswith(FOLDERS[stamp.label] + "/thing_")
        assert stamp.name == f"{stamp.label}/{stamp.source[:-4].replace('/', '-')}"
        assert stamp.kind == ("drawing" if stamp.label == "building" else "photo")
    assert found == sorted(found, key=lambda stamp: stamp.name)


def test_twins_and_what_is_no_such_thing_are_left_out(tmp_path: Path) -> None:
    lay_out(tmp_path, each=1)
    before = sources(tmp_path)
    for file in ("duck_mirror.png", "duck_flip.png", "duck_mirror_flip.png"):
        png(tmp_path / "animals/birds" / file, 1)
    for file in ("vehicles/7spoke256.png", "symbols/math/0.png", "town/roadsigns/stop.png"):
        png(tmp_path / file, 2)
    assert sources(tmp_path) == before
    png(tmp_path / "clothes/hats/tophat.png", 3)
    svg(tmp_path / "clothes/hats/tophat.svg")
    assert sources(tmp_path) - before == {"clothes/hats/tophat.svg"}


def test_a_files_own_name_beats_its_folder(tmp_path: Path) -> None:
    svg(lay_out(tmp_path, each=1) / "clothes/clotheshanger.svg")
    labels = {stamp.source: stamp.label for stamp in stamps.find(tmp_path)}
    assert labels["clothes/clotheshanger.svg"] == "household"


def test_a_missing_package_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match="apt-get install tuxpaint-stamps-default"):
        stamps.build(tmp_path, tmp_path / "none")
    png(tmp_path / "animals/cow.png", 0)
    with pytest.raises(DatasetMissing, match=r"no stamps of \['building', 'clothing'"):
        stamps.build(tmp_path / "data", tmp_path)


# ---------------------------------------------------------------- cut-outs


def test_a_png_is_cropped_to_its_alpha_and_scaled_down(tmp_path: Path) -> None:
    png(tmp_path / "a.png", 0, edge=60)
    cutout = stamps.cut_out(tmp_path / "a.png")
    assert cutout is not None
    assert cutout.mode == "RGBA"
    assert cutout.size[0] == 60
    assert cutout.getchannel("A").getbbox() == (0, 0, *cutout.size)
    png(tmp_path / "b.png", 0, edge=600)
    large = stamps.cut_out(tmp_path / "b.png")
    assert large is not None
    assert max(large.size) == stamps.LONGEST


def test_colours_under_transparent_pixels_do_not_bleed_in(tmp_path: Path) -> None:
    pixels = np.zeros((600, 600, 4), np.uint8)
    pixels[..., 0] = 255  # red where nothing shows
    pixels[200:400] = [0, 0, 255, 255]
    pixels[::2, ::2] = [255, 0, 0, 0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    cutout = stamps.cut_out(tmp_path / "a.png")
    assert cutout is not None
    shown = np.asarray(cutout)
    assert shown[shown[..., 3] > 128][:, 0].max() < 3


def test_stamps_that_show_too_little_are_left_out(tmp_path: Path) -> None:
    png(tmp_path / "small.png", 0, edge=stamps.SMALLEST - 1)
    Image.new("RGBA", (90, 90)).save(tmp_path / "empty.png")
    assert stamps.cut_out(tmp_path / "small.png") is None
    assert stamps.cut_out(tmp_path / "empty.png") is None


@pytest.mark.parametrize(
    "size",
    [
        'width="80" height="80"',
        'width="80pt" height="80pt"',
        'width="2cm" height="2cm" viewBox="0 0 80 80"',
        'viewBox="0 0 80 80"',
        'width="100%" height="100%"',
        "",
    ],
)
def test_an_svg_of_any_page_size_fills_the_longest_edge(size: str, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    svg(tmp_path / "a.svg", size)
    cutout = stamps.cut_out(tmp_path / "a.svg")
    assert cutout is not None
    assert abs(cutout.width - stamps.LONGEST) <= 2
    assert abs(cutout.height - stamps.LONGEST * 2 / 3) <= 3  # 60 x 40 units
    alpha = np.asarray(cutout.getchannel("A"))
    assert alpha[5, 5] == 255
    assert alpha[-5, -5] == 0


def test_an_empty_svg_shows_nothing(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    text = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
    (tmp_path / "a.svg").write_text(text)
    assert stamps.cut_out(tmp_path / "a.svg") is None


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_a_damaged_stamp_is_named(name: str, tmp_path: Path) -> None:
    if name == "a.svg":
        pytest.importorskip("resvg_py")
    (tmp_path / name).write_bytes(b"<svg")
    with pytest.raises(InvalidInput, match=f"{name} is damaged"):
        stamps.cut_out(tmp_path / name)


def test_a_missing_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    svg(tmp_path / "a.svg")
    with pytest.raises(ExtraMissing, match=r"resvg-py.*pip install 'nls-lab\[photos\]'"):
        stamps.cut_out(tmp_path / "a.svg")


# ---------------------------------------------------------------- the build


def build(root: Path, **options: Any) -> dict[str, Any]:
    return stamps.build(root / "data", root / "stamps", **options)


def test_the_build_writes_what_its_index_says(tmp_path: Path) -> None:
    lay_out(tmp_path / "stamps")
    seen: list[tuple[int, int]] = []
    index = build(tmp_path, progress=lambda done, total: seen.append((done, total)))
    root = tmp_path / "data" / stamps.NAME
    assert json.loads((root / stamps.INDEX).read_text()) == index
    assert seen[-1] == (40, 40)
    assert len(index["objects"]) == 40
    for entry in index["objects"]:
        with Image.open(root / f"{entry['name']}.png") as image:
            assert image.mode == "RGBA"
    folds = [entry["fold"] for entry in index["objects"] if entry["label"] == "music"]
    assert sorted(folds) == [0, 1, 2, 3, 4]
    assert not (tmp_path / "data" / f"{stamps.NAME}.partial").exists()


def test_a_second_build_changes_nothing_and_new_stamps_are_seen(tmp_path: Path) -> None:
    lay_out(tmp_path / "stamps", each=2)
    first = build(tmp_path)
    mark = tmp_path / "data" / stamps.NAME / "mark"
    mark.touch()
    assert build(tmp_path) == first
    assert mark.exists()
    png(tmp_path / "stamps/animals/cow.png", 9)
    assert len(build(tmp_path)["objects"]) == len(first["objects"]) + 1
    assert not mark.exists()


def test_two_machines_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        lay_out(tmp_path / name / "stamps", each=2)
        build(tmp_path / name)
    one, other = (tmp_path / name / "data" for name in ("one", "other"))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == 17
    for file in files:
        assert (one / file).read_bytes() == (other / file).read_bytes()


def test_background_photos_are_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path / "stamps", each=1)
    files = []
    for k in range(5):
        files.append(str(tmp_path / f"{k}.jpg"))
        Image.new("RGB", (1200, 900), (50 * k, 0, 0)).save(files[-1])
    photos = {"here": {"files": files}, "absent": {"files": [str(tmp_path / "no.jpg")]}}
    monkeypatch.setitem(stamps.SELECTION, "photos", photos)
    index = build(tmp_path)
    assert [entry["test"] for entry in index["photos"]] == [False, False, False, True, False]
    assert {entry["package"] for entry in index["photos"]} == {"here"}
    with Image.open(tmp_path / "data" / stamps.NAME / index["photos"][1]["file"]) as image:
        assert min(image.size) == stamps.PHOTO_EDGE


def test_the_selection_is_consistent() -> None:
    selection = json.loads(
        Path(stamps.__file__).with_name("everyday_objects.json").read_text(encoding="utf-8")
    )
    assert list(selection["classes"]) == sorted(FOLDERS)
    patterns = [p for chosen in selection["classes"].values() for p in chosen["stamps"]]
    assert len(patterns) == len(set(patterns))
    assert all(selection["left_out"].values())
    assert all(entry["licence"] for entry in selection["photos"].values())


real = pytest.mark.skipif(
    not stamps.STAMPS.is_dir(), reason="Debian's tuxpaint-stamps-default is not installed"
)


@real
def test_the_real_stamps_are_more_than_five_hundred_objects_of_eight_classes() -> None:
    found = stamps.find(stamps.STAMPS)
    assert len(found) > 500
    assert len({stamp.label for stamp in found}) == 8
    files = sources(stamps.STAMPS)
    for pattern in stamps.SELECTION["left_out"]:  # a pattern that matches no file is a slip
        assert any(stamps.STAMPS.glob(pattern)), pattern
    assert not any("_mirror" in file for file in files)
