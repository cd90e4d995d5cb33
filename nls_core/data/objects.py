"""The data set `everyday-objects` on disk: cut-outs, and renderings of them with masks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nls_core import files
from nls_core.data import compose
from nls_core.data.folds import Stamp
from nls_core.data.stamps import INDEX, NAME, PACKAGE, SCHEMA
from nls_core.errors import CheckpointError, DatasetMissing, InvalidInput

SIZE = 224
TRAIN_RENDERINGS = 4  # of each object, for data sets in memory: 0.15 MB each
TEST_FOLD = 0


@dataclass(frozen=True)
class Collection:
    """All objects, in the order of their names; `root` is the folder that holds them."""

    root: Path
    classes: tuple[str, ...]
    objects: tuple[Stamp, ...]
    photos: tuple[compose.Pixels, ...]  # backgrounds of training renderings
    test_photos: tuple[compose.Pixels, ...]  # and those kept for the test renderings

    def cutout(self, index: int) -> Image.Image:
        """The RGBA cut-out of an object.

        Raises:
            DatasetMissing: its file is gone or damaged.
        """
        path = self.root / f"{self.objects[index].name}.png"
        try:
            return Image.open(path, formats=["PNG"]).convert("RGBA")
        except (OSError, SyntaxError) as error:
            raise DatasetMissing(
                f"{path} is damaged; remove {self.root} and make it again: nls data {NAME}"
            ) from error

    def labels(self) -> Tensor:
        """(N,) int64, the class of each object."""
        return torch.tensor([self.classes.index(stamp.label) for stamp in self.objects])

    def folds(self) -> Tensor:
        """(N,) int64, the fold of each object."""
        return torch.tensor([stamp.fold for stamp in self.objects])

    def digest(self) -> str:
        """Of classes and objects, and of how many backgrounds there are: what runs rest on."""
        stated = [self.classes, *(asdict(stamp) for stamp in self.objects)]
        counts = [len(self.photos), len(self.test_photos)]
        return hashlib.sha256(json.dumps([stated, counts]).encode()).hexdigest()


@dataclass(frozen=True)
class Renderings:
    """Composites in memory, and what each shows.

    `images` (M, 3, S, S) uint8, `masks` (M, S, S) bool; `labels`, `objects` (an index into the
    collection), `groups` (near-duplicates share one) and `folds` are (M,) int64.
    """

    images: Tensor
    masks: Tensor
    labels: Tensor
    objects: Tensor
    groups: Tensor
    folds: Tensor

    def take(self, which: Tensor) -> Renderings:
        """Some of them, by an index or by (M,) bool."""
        return Renderings(*(getattr(self, each.name)[which] for each in fields(self)))


def read(data_dir: Path) -> Collection:
    """The collection that `nls data everyday-objects` made.

    Raises:
        DatasetMissing: it is not there, or damaged.
    """
    root = data_dir / NAME
    again = f"make it with: nls data {NAME} (from Debian's {PACKAGE})"
    if not (root / INDEX).is_file():
        raise DatasetMissing(f"{NAME} is not in {data_dir}; {again}")
    try:
        index = files.read_json(root / INDEX)
        if index["schema"] != SCHEMA:
            raise ValueError(f"schema {index['schema']}, expected {SCHEMA}")
        photos = [(bool(entry["test"]), _photo(root / entry["file"])) for entry in index["photos"]]
        return Collection(
            root,
            tuple(index["classes"]),
            tuple(Stamp(**entry) for entry in index["objects"]),
            tuple(photo for test, photo in photos if not test),
            tuple(photo for test, photo in photos if test),
        )
    except (CheckpointError, OSError, SyntaxError, ValueError, KeyError, TypeError) as error:
        raise DatasetMissing(f"{root} is damaged ({error}); remove it and {again}") from error


def _photo(path: Path) -> compose.Pixels:
    return np.asarray(Image.open(path, formats=["JPEG"]).convert("RGB"))


def varied(
    collection: Collection,
    index: Sequence[int],
    renderings: int = TRAIN_RENDERINGS,
    *,
    seed: int = 0,
    size: int = SIZE,
) -> Renderings:
    """Random renderings of some objects, `renderings` in a row of each.

    A rendering depends on the seed, the object's name and its number alone (and on which
    background photos were at hand), so another epoch is another seed.

    Args:
        collection: from `read`.
        index: which objects.
        renderings: of each object, at least 1.
        seed: of every draw.
        size: edge in pixels.

    Raises:
        InvalidInput: no objects, or no renderings.
    """
    numbers = [f"train/{seed}/{k}" for k in range(renderings)]
    return _render(collection, index, numbers, collection.photos, size)


def fixed(
    collection: Collection,
    index: Sequence[int] | None = None,
    *,
    renderings: int = 1,
    size: int = SIZE,
) -> Renderings:
    """The fixed test renderings of some objects (by default all), on backgrounds of their own.

    As `varied`, without a seed: the first `renderings` of each object are the same for all.
    """
    index = range(len(collection.objects)) if index is None else index
    numbers = ["test", *(f"test/{k}" for k in range(1, renderings))][:renderings]
    return _render(collection, index, numbers, collection.test_photos, size)


def _render(
    collection: Collection,
    index: Sequence[int],
    numbers: Sequence[str],
    photos: Sequence[compose.Pixels],
    size: int,
) -> Renderings:
    if not len(index) or not numbers:
        raise InvalidInput(
            f"expected objects and renderings; got {len(index)} objects, {len(numbers)} of each"
        )
    shape = (len(index) * len(numbers), size, size)
    images = torch.empty(shape[0], 3, size, size, dtype=torch.uint8)
    masks = torch.empty(shape, dtype=torch.bool)
    for at, i in enumerate(index):
        cutout = collection.cutout(i)
        for k, number in enumerate(numbers):
            key = _seed(f"{collection.objects[i].name}/{number}")
            row = at * len(numbers) + k
            images[row], masks[row] = compose.render(cutout, key, size, photos)
    objects = torch.tensor(list(index)).repeat_interleave(len(numbers))
    groups = torch.tensor([stamp.group for stamp in collection.objects])
    labels, folds = collection.labels()[objects], collection.folds()[objects]
    return Renderings(images, masks, labels, objects, groups[objects], folds)


def empty(collection: Collection, count: int, *, size: int = SIZE) -> Tensor:
    """(count, 3, size, size) uint8: backgrounds of test renderings, without any object."""
    grounds = [
        np.asarray(
            compose.background(
                np.random.default_rng(_seed(f"empty/{k}")), size, collection.test_photos
            )
        )
        for k in range(count)
    ]
    return torch.from_numpy(np.stack(grounds)).permute(0, 3, 1, 2).contiguous()


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def split(collection: Collection, *, train: bool, size: int = SIZE) -> Renderings:
    """The data set's two parts: training renderings of four folds, test renderings of the fifth."""
    held = collection.folds() == TEST_FOLD
    index = torch.nonzero(~held if train else held).flatten().tolist()
    if train:
        return varied(collection, index, size=size)
    return fixed(collection, index, size=size)


# data sets of objects in folds: what the protocol out_of_fold needs; data_dir -> collection
COLLECTIONS: dict[str, Callable[[Path], Collection]] = {NAME: read}
