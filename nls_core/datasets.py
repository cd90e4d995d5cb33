"""Image classification data sets as arrays in memory, with one fixed validation split."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets as tv

from nls_core.images import PREPROCESS, decode_image
from nls_core.types import DatasetMissing, InvalidInput, unknown

Split = Literal["train", "test"]
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
VALIDATION_SHARE = 0.1
SPLIT_SEED = 0  # one split for all runs and seeds: models are compared on the same images


@dataclass(frozen=True)
class Data:
    """A split in memory: `images` (N, C, H, W) uint8, `labels` (N,) int64."""

    name: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    preprocess: str  # how an uploaded picture becomes such an image: a key of images.PREPROCESS

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Data:
        """The images at `index`, (M,) int64."""
        return Data(
            self.name, self.images[index], self.labels[index], self.classes, self.preprocess
        )

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per-channel mean and standard deviation of pixels in [0, 1], to four decimals."""
        pixels = self.images.transpose(0, 1).flatten(1)  # (C, N·H·W)
        mean = [round(float(c.double().mean()) / 255, 4) for c in pixels]
        std = [round(float(c.double().std()) / 255, 4) for c in pixels]
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
    """Read one gzipped idx file of bytes (the MNIST format)."""
    data = gzip.decompress(path.read_bytes())
    dims = data[3]
    shape = struct.unpack(f">{dims}I", data[4 : 4 + 4 * dims])
    array = np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)
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
        stored = _torchvision("fashion-mnist", tv.FashionMNIST, data_dir, split, download, get)
        images, labels = stored.data, stored.targets
    return Data("fashion-mnist", images.unsqueeze(1), labels, FASHION_CLASSES, "fashion")


def _cifar(name: str, kind: type[tv.CIFAR10]) -> Callable[[Path, Split, bool], Data]:
    def load(data_dir: Path, split: Split, download: bool) -> Data:
        get = "the same command with --download"
        stored = _torchvision(name, kind, data_dir, split, download, get)
        images = torch.from_numpy(stored.data).permute(0, 3, 1, 2).contiguous()  # NHWC -> NCHW
        labels = torch.tensor(stored.targets)
        return Data(name, images, labels, tuple(stored.classes), "center-crop")

    return load


def _torchvision(
    name: str, kind: Callable[..., tv.VisionDataset], data_dir: Path, split: Split, *how: object
) -> tv.VisionDataset:
    download, get = how
    try:
        return kind(data_dir, train=split == "train", download=download)
    except RuntimeError as error:
        raise DatasetMissing(f"{name} is not in {data_dir}; get it with: {get}") from error


def image_folder(path: Path, split: Split, size: int = 224) -> Data:
    """Any folder of class folders, `PATH/<class>/*`, or `PATH/{train,test}/<class>/*`.

    Without train and test folders a fifth of the images, drawn by a fixed seed, is the test split.
    Images are centre-cropped to `size` pixels, in RGB.
    """
    own = path / split
    root = own if own.is_dir() else path
    if not root.is_dir():
        raise DatasetMissing(f"no folder {path}; expected one folder per class in it")
    found = tv.ImageFolder(str(root))
    crop = PREPROCESS["center-crop"]
    images = [crop(decode_image(Path(file).read_bytes()), size, 3).x for file, _ in found.samples]
    stacked = (torch.cat(images) * 255).round().byte()
    data = Data(
        f"imagefolder:{path}",
        stacked,
        torch.tensor(found.targets),
        tuple(found.classes),
        "center-crop",
    )
    if own.is_dir():
        return data
    train, test = divide(len(data), 0.2)
    return data.take(train if split == "train" else test)


DATASETS: dict[str, Callable[[Path, Split, bool], Data]] = {
    "fashion-mnist": fashion_mnist,
    "cifar10": _cifar("cifar10", tv.CIFAR10),
    "cifar100": _cifar("cifar100", tv.CIFAR100),
}


def load(name: str, data_dir: Path, split: Split = "train", *, download: bool = False) -> Data:
    """Read a data set by name.

    Args:
        name: a key of `DATASETS`, or `imagefolder:PATH`.
        data_dir: where downloaded data sets are kept.
        split: 'train' (validation included, see `divide`) or 'test'.
        download: fetch a missing data set, where its source allows.

    Raises:
        UnknownName: no such data set.
        DatasetMissing: it is not on this machine; the message holds the command that gets it.
    """
    if split not in ("train", "test"):
        raise InvalidInput(unknown("split", split, ("train", "test")))
    if name.startswith("imagefolder:"):
        return image_folder(Path(name.removeprefix("imagefolder:")).expanduser(), split)
    if name not in DATASETS:
        raise InvalidInput(unknown("data set", name, [*DATASETS, "imagefolder:PATH"]))
    return DATASETS[name](data_dir, split, download)


def divide(count: int, share: float = VALIDATION_SHARE) -> tuple[Tensor, Tensor]:
    """Indices of the training and the held-out part, always the same for one `count`."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    held = round(count * share)
    return order[held:].sort().values, order[:held].sort().values
