"""Image classification data sets as arrays in memory, with one fixed validation split."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nls_core.data import objects
from nls_core.errors import (
    DatasetMissing,
    ImageRejected,
    InvalidInput,
    TooLarge,
    UnknownName,
    unknown,
)
from nls_core.images import PREPROCESS, decode_image

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

Split = Literal["train", "test"]
Kind = Callable[..., "VisionDataset"]
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
VALIDATION_SHARE = 0.1
IMAGE_FOLDER_SIZE = 224
BATCH_VALUES = 5_000_000  # 33 images of 3x224x224
SPLIT_SEED = 0  # one split for all runs and seeds: models are compared on the same images


@dataclass(frozen=True)
class Data:
    """A split in memory: `images` (N, C, H, W) uint8, `labels` (N,) int64."""

    name: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    preprocess: str  # how an uploaded picture becomes such an image: a key of images.PREPROCESS
    groups: Tensor | None = None  # (N,) int64: images of one group stay on one side of a split

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Data:
        """The images at `index`, (M,) int64."""
        groups = None if self.groups is None else self.groups[index]
        return replace(self, images=self.images[index], labels=self.labels[index], groups=groups)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per-channel mean and standard deviation of pixels in [0, 1], to four decimals.

        A channel without contrast gets the deviation 1, so that it can be divided by.
        """
        pixels = self.images.transpose(0, 1).flatten(1)  # (C, N·H·W)
        mean = [round(float(c.double().mean()) / 255, 4) for c in pixels]
        std = [round(float(c.double().std()) / 255, 4) or 1.0 for c in pixels]
        return tuple(mean), tuple(std)


FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def _idx(path: Path) -> Tensor:
    """Read one gzipped idx file of bytes (the MNIST format).

    Raises:
        DatasetMissing: the file is damaged or of another type.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        if data[:3] != b"\0\0\x08":  # two zeros, then the code of unsigned bytes
            raise ValueError(f"it begins {data[:4]!r}")
        shape = struct.unpack_from(f">{data[3]}I", data, 4)
        array = np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, IndexError, ValueError) as error:
        raise DatasetMissing(f"{path} is damaged ({error}); install it again") from error
    return torch.from_numpy(array.copy())


def fashion_mnist(data_dir: Path, split: Split, download: bool) -> Data:
    """Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747; MIT): 60,000 and 10,000 images of 28x28.

    From Debian's package where it is installed, else from `data_dir` through torchvision.
    """
    stem = "train" if split == "train" else "t10k"
    if (DEBIAN_FASHION / f"{stem}-images-idx3-ubyte.gz").exists():
        images = _idx(DEBIAN_FASHION / f"{stem}-images-idx3-ubyte.gz")
        labels = _idx(DEBIAN_FASHION / f"{stem}-labels-idx1-ubyte.gz").long()
    else:
        get = "apt-get install dataset-fashion-mnist (Debian), or the same command with --download"
        stored = _torchvision(
            "fashion-mnist", lazily("FashionMNIST"), data_dir, split, download, get
        )
        images, labels = stored.data, stored.targets
    return Data("fashion-mnist", images.unsqueeze(1), labels, FASHION_CLASSES, "fashion")


def cifar(name: str, kind: Kind) -> Callable[[Path, Split, bool], Data]:
    """How CIFAR-10 or CIFAR-100 is read, by a class of torchvision."""

    def load(data_dir: Path, split: Split, download: bool) -> Data:
        get = "the same command with --download"
        stored = _torchvision(name, kind, data_dir, split, download, get)
        images = torch.from_numpy(stored.data).permute(0, 3, 1, 2).contiguous()  # NHWC -> NCHW
        labels = torch.tensor(stored.targets)
        return Data(name, images, labels, tuple(stored.classes), "center-crop")

    return load


def lazily(kind: str) -> Kind:
    """A class of torchvision's data sets, imported when it is called."""

    def make(*arguments: Any, **options: Any) -> VisionDataset:
        from torchvision import datasets  # noqa: PLC0415 - 160 MB that a server does not need

        found: VisionDataset = getattr(datasets, kind)(*arguments, **options)
        return found

    return make


def _torchvision(
    name: str, kind: Kind, data_dir: Path, split: Split, *how: object
) -> VisionDataset:
    download, get = how
    try:
        return kind(data_dir, train=split == "train", download=download)
    except (RuntimeError, OSError) as error:  # OSError: no network, a full disk
        if download:
            raise DatasetMissing(
                f"{name} could not be downloaded to {data_dir}: {error}"
            ) from error
        raise DatasetMissing(f"{name} is not in {data_dir}; get it with: {get}") from error


def everyday_objects(data_dir: Path, split: Split, download: bool) -> Data:
    """Cut-outs of Debian's tuxpaint-stamps-default (GPL-2) on varied backgrounds, 224x224.

    Training renderings of four folds of objects, and the test rendering of each in the fifth;
    `objects` has the masks and the folds.
    """
    collection = objects.read(data_dir)
    made = objects.split(collection, train=split == "train")
    name, classes = "everyday-objects", collection.classes
    return Data(name, made.images, made.labels, classes, "center-crop", made.groups)


def image_folder(path: Path, split: Split, size: int = IMAGE_FOLDER_SIZE) -> Data:
    """Any folder of class folders, `PATH/<class>/*`, or `PATH/{train,test}/<class>/*`.

    Without train and test folders a fifth of the images, drawn by a fixed seed, is the test split.
    Images are centre-cropped to `size` pixels, in RGB.

    Raises:
        DatasetMissing: no such folder, or a class without images.
        InvalidInput: train and test have other classes.
        ImageRejected, TooLarge: an image cannot be read; the message names the file.
    """
    halves = {name: path / name for name in ("train", "test")}
    divided = any(folder.is_dir() for folder in halves.values())
    root = halves[split] if divided else path
    classes = _class_names(root)
    if divided and _class_names(halves["train"]) != _class_names(halves["test"]):
        raise InvalidInput(
            f"expected the same classes in both; {halves['train']} has "
            f"{_class_names(halves['train'])}, {halves['test']} {_class_names(halves['test'])}"
        )
    try:
        found = lazily("ImageFolder")(str(root))
    except FileNotFoundError as error:  # it names the classes without images
        raise DatasetMissing(
            f"expected one folder of images per class in {root}; {error}"
        ) from error
    images = torch.cat([_cropped(Path(file), size) for file, _ in found.samples])
    name = f"imagefolder:{path}" + (f"?size={size}" if size != IMAGE_FOLDER_SIZE else "")
    data = Data(name, images, torch.tensor(found.targets), classes, "center-crop")
    if divided:
        return data
    train, test = divide(len(data), 0.2)
    return data.take(train if split == "train" else test)


def _class_names(root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        raise DatasetMissing(f"no folder {root}; expected one folder per class in it")
    return tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir()))


def _cropped(file: Path, size: int) -> Tensor:
    """(1, 3, size, size) uint8 of one image file."""
    try:
        image = decode_image(file.read_bytes())
    except (ImageRejected, TooLarge) as error:
        raise type(error)(f"{file}: {error}") from error
    return (PREPROCESS["center-crop"](image, size, 3).x * 255).round().byte()


DATASETS: dict[str, Callable[[Path, Split, bool], Data]] = {
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar("cifar10", lazily("CIFAR10")),
    "cifar100": cifar("cifar100", lazily("CIFAR100")),
    "everyday-objects": everyday_objects,
}


def digits(shape: tuple[int, int, int], seed: int) -> Tensor:
    """1,797 handwritten digits, enlarged from 8x8 to (C, H, W), uint8; the seed is not used.

    The test part of the UCI optical digits (Alpaydin & Kaynak 1998, CC BY 4.0), which
    scikit-learn carries.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import

    small = torch.from_numpy(load_digits().images).float()[:, None] / 16  # (N, 1, 8, 8)
    large = F.interpolate(small, shape[1:], mode="bilinear").expand(-1, shape[0], -1, -1)
    return (large * 255).round().byte()


def uniform_noise(shape: tuple[int, int, int], seed: int) -> Tensor:
    """2,000 images of independent uniform pixels, (2000, C, H, W) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2000, *shape), generator=generator, dtype=torch.uint8)


# what no model here was trained on: (C, H, W), seed -> (N, C, H, W) uint8
OUTSIDE: dict[str, Callable[[tuple[int, int, int], int], Tensor]] = {
    "digits": digits,
    "noise": uniform_noise,
}


def load(name: str, data_dir: Path, split: Split = "train", *, download: bool = False) -> Data:
    """Read a data set by name.

    Args:
        name: a key of `DATASETS`, or `imagefolder:PATH`, with `?size=N` for N x N images.
        data_dir: where downloaded data sets are kept.
        split: 'train' (validation included, see `divide`) or 'test'.
        download: fetch a missing data set, where its source allows.

    Raises:
        UnknownName: no such data set.
        DatasetMissing: it is not on this machine; the message holds the command that gets it.
    """
    if split not in ("train", "test"):
        raise UnknownName(unknown("split", split, ("train", "test")))
    if name.startswith("imagefolder:"):
        path, _, size = name.removeprefix("imagefolder:").partition("?size=")
        if size and not size.isdecimal():
            raise InvalidInput(f"expected imagefolder:PATH?size=N with N in pixels; got {name!r}")
        return image_folder(Path(path).expanduser(), split, int(size or IMAGE_FOLDER_SIZE))
    if name not in DATASETS:
        raise UnknownName(unknown("data set", name, [*DATASETS, "imagefolder:PATH"]))
    return DATASETS[name](data_dir, split, download)


def batch_size(shape: Sequence[int], most: int) -> int:
    """How many images of (C, H, W) a batch may hold, at most `most`: less for larger ones.

    `BATCH_VALUES` numbers of input make about a gigabyte of activations in the networks here.
    """
    return max(1, min(most, BATCH_VALUES // math.prod(shape)))


def divide(count: int, share: float = VALIDATION_SHARE) -> tuple[Tensor, Tensor]:
    """Indices of the training and the held-out part, always the same for one `count`.

    Both are sorted and hold at least one.

    Raises:
        InvalidInput: fewer than two images.
    """
    if count < 2:
        raise InvalidInput(f"expected at least 2 images, to hold some out; got {count}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    held = min(max(round(count * share), 1), count - 1)
    return order[held:].sort().values, order[:held].sort().values


def hold_out(data: Data) -> tuple[Tensor, Tensor]:
    """Indices of the training and the validation part of a training split; see `divide`.

    Groups stay whole: renderings of one object are never on both sides.
    """
    if data.groups is None:
        return divide(len(data))
    names, inverse = torch.unique(data.groups, return_inverse=True)
    held = torch.isin(inverse, divide(len(names))[1])
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
