"""everyday-objects on disk and in memory: masks, folds, and splits by object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from nls_core.cli import entry
from nls_core.data import datasets, objects, stamps
from nls_core.errors import DatasetMissing, InvalidInput
from tests.helpers.stamps import FOLDERS, lay_out


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built data set of 40 objects with two background photos of each part."""
    root = tmp_path_factory.mktemp("objects")
    files = [str(root / f"{k}.jpg") for k in range(8)]
    for k, file in enumerate(files):
        Image.new("RGB", (600, 500), (30 * k, 0, 90)).save(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(stamps.SELECTION, "photos", {"package": {"files": files}})
        stamps.build(root, lay_out(root / "stamps"))
    return root


def test_the_collection_is_what_was_built(data_dir: Path) -> None:
    collection = objects.read(data_dir)
    assert collection.classes == tuple(FOLDERS)
    assert len(collection.objects) == 40
    assert torch.bincount(collection.labels()).tolist() == [5] * 8
    assert torch.bincount(collection.folds()).tolist() == [8] * 5
    assert (len(collection.photos), len(collection.test_photos)) == (6, 2)
    assert collection.cutout(3).mode == "RGBA"


def test_renderings_know_what_they_show(data_dir: Path) -> None:
    collection = objects.read(data_dir)
    made = objects.varied(collection, [7, 2], 3, size=32)
    assert made.images.shape == (6, 3, 32, 32)
    assert made.masks.shape == (6, 32, 32)
    assert made.masks.flatten(1).any(1).all()
    assert made.objects.tolist() == [7, 7, 7, 2, 2, 2]
    assert made.labels.tolist() == collection.labels()[made.objects].tolist()
    assert made.folds.tolist() == collection.folds()[made.objects].tolist()
    groups = [collection.objects[i].group for i in made.objects.tolist()]
    assert made.groups.tolist() == groups
    assert len({image.numpy().tobytes() for image in made.images}) == 6


def test_a_rendering_depends_on_its_own_object_number_and_seed_alone(data_dir: Path) -> None:
    collection = objects.read(data_dir)
    all_of_them = objects.varied(collection, range(4), 2, size=32)
    one = objects.varied(collection, [3], 1, size=32)
    assert torch.equal(all_of_them.images[6], one.images[0])
    assert torch.equal(all_of_them.masks[6], one.masks[0])
    assert not torch.equal(one.images, objects.varied(collection, [3], 1, seed=1, size=32).images)


def test_the_test_renderings_are_fixed_and_others_than_those_trained_on(data_dir: Path) -> None:
    collection = objects.read(data_dir)
    fixed = objects.fixed(collection, size=32)
    assert fixed.objects.tolist() == list(range(40))
    assert torch.equal(fixed.images[5:6], objects.fixed(collection, [5], size=32).images)
    varied = objects.varied(collection, range(40), 2, size=32)
    seen = {image.numpy().tobytes() for image in varied.images}
    assert not any(image.numpy().tobytes() in seen for image in fixed.images)


def test_nothing_to_render_is_refused(data_dir: Path) -> None:
    with pytest.raises(InvalidInput, match="got 0 objects"):
        objects.fixed(objects.read(data_dir), [])
    with pytest.raises(InvalidInput, match="0 of each"):
        objects.varied(objects.read(data_dir), [1], 0)


def test_the_data_sets_parts_share_no_object(data_dir: Path) -> None:
    collection = objects.read(data_dir)
    train, test = (objects.split(collection, train=part, size=32) for part in (True, False))
    assert set(test.objects.tolist()).isdisjoint(train.objects.tolist())
    assert set(test.groups.tolist()).isdisjoint(train.groups.tolist())
    assert (len(test.labels), len(train.labels)) == (8, 32 * objects.TRAIN_RENDERINGS)


def test_it_loads_by_name_and_validation_shares_no_object(data_dir: Path) -> None:
    test = datasets.load("everyday-objects", data_dir, "test")
    assert test.images.shape == (8, 3, 224, 224)
    assert test.classes == tuple(FOLDERS)
    assert test.preprocess == "center-crop"
    train = datasets.load("everyday-objects", data_dir, "train")
    kept, held = datasets.hold_out(train)
    assert train.groups is not None
    assert len(kept) + len(held) == len(train)
    assert set(train.groups[kept].tolist()).isdisjoint(train.groups[held].tolist())
    assert torch.equal(train.take(held).groups, train.groups[held])  # type: ignore[arg-type]


def test_an_absent_or_damaged_collection_names_the_command(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match="nls data everyday-objects"):
        datasets.load("everyday-objects", tmp_path, "train")
    root = tmp_path / stamps.NAME
    root.mkdir()
    index = json.loads((data_dir / stamps.NAME / stamps.INDEX).read_text())
    (root / stamps.INDEX).write_text(json.dumps(index | {"photos": []}))
    with pytest.raises(DatasetMissing, match=r"png is damaged; remove .*nls data everyday-objects"):
        objects.read(tmp_path).cutout(0)
    for text in ("{", "{}", json.dumps(index | {"schema": 0}), json.dumps(index)):
        (root / stamps.INDEX).write_text(text)
        with pytest.raises(DatasetMissing, match=r"is damaged .*nls data everyday-objects"):
            objects.read(tmp_path)


# ---------------------------------------------------------------- nls data


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NLS_DATA_DIR", str(tmp_path / "data"))
    missing = {"some-wallpapers": {"files": ["/none.jpg"]}}
    monkeypatch.setitem(stamps.SELECTION, "photos", missing)
    return tmp_path


def test_nls_data_says_what_it_made_and_what_could_be_better(home: Path) -> None:
    lay_out(home / "stamps", each=2)
    result = CliRunner().invoke(
        entry.app, ["data", "everyday-objects", "--stamps", str(home / "stamps")]
    )
    assert result.exit_code == 0, result.output
    assert "16 objects (animal 2, building 2" in result.stdout
    assert "background photos: none" in result.stdout
    assert "apt-get install --no-install-recommends some-wallpapers" in result.stderr
    assert len(objects.read(home / "data").objects) == 16


def test_nls_data_ends_with_one_line_where_the_package_is_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["nls", "data", "everyday-objects", "--stamps", str(home / "none")]
    for name, status, text in (
        ("everyday-objects", 1, "apt-get install tuxpaint-stamps-default"),
        ("cifar10", 2, "unknown data set to make 'cifar10'"),
    ):
        monkeypatch.setattr("sys.argv", [*arguments[:2], name, *arguments[3:]])
        with pytest.raises(SystemExit) as raised:
            entry.main()
        assert raised.value.code == status
        assert text in capsys.readouterr().err
