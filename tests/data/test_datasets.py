"""Data sets: file formats, fixed splits, and messages that say what to do."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets as tv

from nls_core.data import datasets
from nls_core.data.datasets import Data, divide
from nls_core.errors import DatasetMissing, ImageRejected, InvalidInput, TooLarge, UnknownName

DEBIAN = datasets.DEBIAN_FASHION / "train-images-idx3-ubyte.gz"
installed = pytest.mark.skipif(
    not DEBIAN.exists(), reason="Debian's dataset-fashion-mnist is not installed (make data)"
)


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def fashion_arrays(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return images, rng.integers(0, 10, count, dtype=np.uint8)


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder laid out as Debian's package, with 7 and 4 random images."""
    for stem, count in (("train", 7), ("t10k", 4)):
        images, labels = fashion_arrays(count, seed=count)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (tmp_path / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(array)))
    monkeypatch.setattr(datasets, "DEBIAN_FASHION", tmp_path)
    return tmp_path


# ---------------------------------------------------------------- Fashion-MNIST


@pytest.mark.parametrize(("split", "count"), [("train", 7), ("test", 4)])
def test_fashion_mnist_is_read_from_debians_files(
    split: datasets.Split, count: int, debian: Path, tmp_path: Path
) -> None:
    data = datasets.load("fashion-mnist", tmp_path / "none", split)
    images, labels = fashion_arrays(count, seed=count)
    assert data.images.dtype == torch.uint8
    assert data.labels.dtype == torch.int64
    np.testing.assert_array_equal(data.images[:, 0], images)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.classes == datasets.FASHION_CLASSES
    assert data.preprocess == "fashion"


def test_fashion_mnist_is_read_from_torchvisions_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "DEBIAN_FASHION", tmp_path / "none")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count in (("train", 5), ("t10k", 3)):
        images, labels = fashion_arrays(count, seed=count)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    data = datasets.load("fashion-mnist", tmp_path, "test")
    images, labels = fashion_arrays(3, seed=3)
    assert data.images.shape == (3, 1, 28, 28)
    np.testing.assert_array_equal(data.images[:, 0], images)
    np.testing.assert_array_equal(data.labels, labels)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"not gzip",
        lambda data: data[: len(data) // 2],
        lambda data: gzip.compress(b""),
        lambda data: gzip.compress(b"\0\0\x08"),
        lambda data: gzip.compress(gzip.decompress(data)[:-1]),
        lambda data: gzip.compress(b"\0\0\x0d" + gzip.decompress(data)[3:]),  # floats
    ],
)
def test_a_damaged_idx_file_is_named(damage: Callable[[bytes], bytes], debian: Path) -> None:
    path = debian / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetMissing, match=f"{path.name} is damaged"):
        datasets.load("fashion-mnist", debian, "train")


@installed
@pytest.mark.parametrize(("split", "per_class"), [("train", 6000), ("test", 1000)])
def test_the_real_fashion_mnist(split: datasets.Split, per_class: int, tmp_path: Path) -> None:
    data = datasets.load("fashion-mnist", tmp_path, split)
    assert data.images.shape == (10 * per_class, 1, 28, 28)
    assert torch.bincount(data.labels).tolist() == [per_class] * 10
    # the published mean and standard deviation of the training images
    if split == "train":
        assert data.statistics() == ((0.286,), (0.353,))


# ---------------------------------------------------------------- CIFAR


def test_cifar_images_have_channels_first(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (5, 3 * 32 * 32), dtype=np.uint8)
    folder = tmp_path / tv.CIFAR10.base_folder
    folder.mkdir()

    def pickled(name: str, content: dict[str, Any]) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data, usedforsecurity=False).hexdigest()]

    batch = pickled("batch", {"data": rows, "labels": [3, 1, 4, 1, 5]})
    names = pickled("batches.meta", {"label_names": [f"class {n}" for n in range(10)]})

    class TinyCIFAR(tv.CIFAR10):
        train_list = test_list = [batch]  # noqa: RUF012 - as in the base class
        meta = {"filename": names[0], "key": "label_names", "md5": names[1]}  # noqa: RUF012

    data = datasets.cifar("cifar10", TinyCIFAR)(tmp_path, "train", False)
    np.testing.assert_array_equal(data.images, rows.reshape(5, 3, 32, 32))
    assert data.labels.tolist() == [3, 1, 4, 1, 5]
    assert data.classes[3] == "class 3"


# ---------------------------------------------------------------- names and absence


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100"])
def test_an_absent_data_set_names_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "DEBIAN_FASHION", tmp_path / "none")
    with pytest.raises(DatasetMissing, match=f"{name} is not in .*--download") as raised:
        datasets.load(name, tmp_path, "train")
    assert ("apt-get install dataset-fashion-mnist" in str(raised.value)) == (name[0] == "f")


def test_a_failed_download_says_so(tmp_path: Path) -> None:
    def offline(*_: object, **options: object) -> tv.CIFAR10:
        raise OSError("no route to host")

    with pytest.raises(DatasetMissing, match=r"could not be downloaded to .*no route to host"):
        datasets.cifar("cifar10", offline)(tmp_path, "train", True)


def test_unknown_names_list_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"data set 'mnist'.*cifar10.*imagefolder:PATH"):
        datasets.load("mnist", tmp_path)
    with pytest.raises(UnknownName, match=r"split 'val'; expected one of \['test', 'train'\]"):
        datasets.load("fashion-mnist", tmp_path, "val")  # type: ignore[arg-type]


# ---------------------------------------------------------------- image folders


def write_png(path: Path, level: int, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 255 - level)).save(path)


def folder_of(root: Path, counts: dict[str, int], level: int = 0) -> Path:
    """A folder per class with PNG files whose red is their number."""
    for name, count in counts.items():
        for _ in range(count):
            write_png(root / name / f"{level:03}.png", level)
            level += 1
    return root


def reds(data: Data) -> list[int]:
    return data.images[:, 0, 0, 0].tolist()


def test_a_folder_of_classes_is_split_in_five(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 12, "dog": 8})
    name = f"imagefolder:{tmp_path}?size=16"
    train, test = (datasets.load(name, tmp_path, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (16, 4)
    assert sorted(reds(train) + reds(test)) == list(range(20))
    for data in (train, test):
        assert data.images.shape[1:] == (3, 16, 16)
        assert data.classes == ("cat", "dog")
        assert [int(red >= 12) for red in reds(data)] == data.labels.tolist()
        assert data.name == name


def test_a_folder_of_train_and_test_is_taken_as_it_is(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"cat": 2, "dog": 1})
    folder_of(tmp_path / "test", {"cat": 1, "dog": 2}, level=3)
    name = f"imagefolder:{tmp_path}"
    train, test = (datasets.load(name, tmp_path, split) for split in ("train", "test"))
    assert (reds(train), train.labels.tolist()) == ([0, 1, 2], [0, 0, 1])
    assert (reds(test), test.labels.tolist()) == ([3, 4, 5], [0, 1, 1])
    assert train.images.shape == (3, 3, 224, 224)
    assert train.name == name


def test_one_half_alone_is_not_taken_for_a_class(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"cat": 2, "dog": 1})
    with pytest.raises(DatasetMissing, match=f"no folder {tmp_path / 'test'}"):
        datasets.load(f"imagefolder:{tmp_path}", tmp_path, "test")


def test_classes_of_train_and_test_must_agree(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"cat": 1, "dog": 1, "owl": 1})
    folder_of(tmp_path / "test", {"dog": 1, "owl": 1})
    with pytest.raises(InvalidInput, match="the same classes"):
        datasets.load(f"imagefolder:{tmp_path}", tmp_path, "test")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 2, "dog": 1})
    bad = tmp_path / "dog" / "002.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(ImageRejected, match=f"^{bad}: .*damaged"):
        datasets.load(f"imagefolder:{tmp_path}", tmp_path)


def test_a_file_over_the_byte_cap_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 2, "dog": 1})
    with (tmp_path / "cat" / "000.png").open("ab") as file:
        file.write(bytes(10_000_000))
    with pytest.raises(TooLarge, match=r"000\.png: expected at most"):
        datasets.load(f"imagefolder:{tmp_path}", tmp_path)


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=f"no folder {tmp_path / 'none'}"):
        datasets.load(f"imagefolder:{tmp_path / 'none'}", tmp_path)
    with pytest.raises(DatasetMissing, match=f"one folder of images per class in {tmp_path}"):
        datasets.load(f"imagefolder:{tmp_path}", tmp_path)
    folder_of(tmp_path, {"cat": 1})
    (tmp_path / "dog").mkdir()
    with pytest.raises(DatasetMissing, match="dog"):
        datasets.load(f"imagefolder:{tmp_path}", tmp_path)


@pytest.mark.parametrize("size", ["0", "-3", "big"])
def test_a_size_must_be_a_number_of_pixels(size: str, tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 1, "dog": 1})
    with pytest.raises(InvalidInput, match="size"):
        datasets.load(f"imagefolder:{tmp_path}?size={size}", tmp_path)


# ---------------------------------------------------------------- splits and statistics


@pytest.mark.parametrize("count", [2, 3, 10, 60_000])
def test_the_split_is_fixed_disjoint_and_covering(count: int) -> None:
    kept, held = divide(count)
    again = divide(count)
    assert torch.equal(kept, again[0])
    assert torch.equal(held, again[1])
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(count))
    assert len(held) == max(round(count * 0.1), 1)
    assert torch.equal(held, held.sort().values)


def test_the_split_of_fashion_mnist_never_changes() -> None:
    # shipped models are chosen, and their temperatures fitted, on these images
    held = divide(60_000)[1]
    assert len(held) == 6000
    digest = hashlib.sha256(held.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest == "1fe675f934df452f01334b5875e550f1d7c28e7232b71ba2616f59e490daf87f"


def test_both_parts_hold_something() -> None:
    assert [len(part) for part in divide(2, 0.99)] == [1, 1]
    with pytest.raises(InvalidInput, match="at least 2 images"):
        divide(1)


def test_statistics_are_those_of_the_pixels() -> None:
    images = torch.randint(0, 256, (9, 2, 5, 5), generator=torch.Generator().manual_seed(0)).byte()
    images[:, 1] = 51
    data = Data("x", images, torch.zeros(9).long(), ("a", "b"), "center-crop")
    mean, std = data.statistics()
    pixels = images[:, 0].double() / 255
    assert mean == (round(float(pixels.mean()), 4), 0.2)
    assert std[0] == pytest.approx(float(pixels.std()), abs=5e-5)
    assert std[1] == 1.0  # without contrast: still a divisor


def test_take_keeps_image_and_label_together() -> None:
    images = torch.arange(5).byte().view(5, 1, 1, 1)
    taken = Data("x", images, torch.arange(5), ("a", "b"), "fashion").take(torch.tensor([3, 1]))
    assert taken.images.flatten().tolist() == taken.labels.tolist() == [3, 1]
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("shape", "wanted"), [((1, 28, 28), 500), ((3, 224, 224), 33), ((3, 4000, 4000), 1)]
)
def test_a_batch_is_smaller_for_larger_images(shape: tuple[int, ...], wanted: int) -> None:
    assert datasets.batch_size(shape, 500) == wanted
