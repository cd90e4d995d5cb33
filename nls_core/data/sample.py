"""A family's shipped test images: what pages compute on where no data set is installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nls_core import files
from nls_core.errors import CheckpointError, DatasetMissing

FILE = "sample.npz"


@dataclass(frozen=True)
class Sample:
    """Test images (N, C, H, W) uint8, labels (N,) and indices in the test split (N,), int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def x(self) -> Tensor:
        """(N, C, H, W) float32 in [0, 1], as models take it."""
        return torch.from_numpy(self.images).float() / 255

    def part(self, start: int, stop: int) -> Sample:
        """The images from `start` to before `stop`."""
        chosen = slice(start, stop)
        return Sample(self.images[chosen], self.labels[chosen], self.indices[chosen])

    def first(self, count: int) -> Sample:
        """The first `count` images of each class, in the sample's order."""
        rank = np.array([(self.labels[:i] == k).sum() for i, k in enumerate(self.labels)])
        kept = rank < count
        return Sample(self.images[kept], self.labels[kept], self.indices[kept])


def path_of(family: str, models_dir: Path) -> Path:
    """Where a family's sample is, whether it is there or not."""
    return models_dir / family / FILE


def write(sample: Sample, path: Path) -> None:
    """Store a sample; small integers keep the file small."""
    files.write_arrays(
        path,
        images=sample.images,
        labels=sample.labels.astype(np.uint16),
        indices=sample.indices.astype(np.uint32),
    )


def read(family: str, models_dir: Path) -> Sample:
    """Read a family's sample.

    Raises:
        DatasetMissing: it is not there, or damaged.
    """
    path = path_of(family, models_dir)
    try:
        stored = files.read_arrays(path)
        images, labels, indices = (stored[name] for name in ("images", "labels", "indices"))
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images) == len(labels):
            raise ValueError(f"images are {images.dtype} {images.shape}, labels {labels.shape}")
        return Sample(images, labels.astype(np.int64), indices.astype(np.int64))
    except (CheckpointError, KeyError, ValueError) as error:
        raise DatasetMissing(
            f"the test images of {family} are missing or damaged ({error}); "
            "make them with `python scripts/make_sample.py`"
        ) from error
