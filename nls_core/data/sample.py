"""A family's shipped test images: what pages compute on where no data set is installed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nls_core import files
from nls_core.errors import CheckpointError, DatasetMissing

FILE = "sample.npz"
QUALITY = 90  # of colour images, which are kept as JPEG: a tenth of the bytes


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
    """Store a sample; small integers, and JPEG for colour, keep the file small.

    Raises:
        ValueError: images of neither 1 nor 3 channels.
    """
    if sample.images.shape[1] == 3:
        coded = [_to_jpeg(image) for image in sample.images]
        images: dict[str, NDArray[Any]] = {
            "jpeg": np.frombuffer(b"".join(coded), np.uint8),
            "ends": np.cumsum([len(each) for each in coded]).astype(np.uint32),
        }
    elif sample.images.shape[1] == 1:
        images = {"images": sample.images}
    else:
        raise ValueError(f"expected images of 1 or 3 channels; got {sample.images.shape}")
    files.write_arrays(
        path,
        **images,
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
        images = stored["images"] if "images" in stored else _from_jpeg(stored)
        labels, indices = stored["labels"], stored["indices"]
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images) == len(labels):
            raise ValueError(f"images are {images.dtype} {images.shape}, labels {labels.shape}")
        return Sample(images, labels.astype(np.int64), indices.astype(np.int64))
    except (CheckpointError, KeyError, ValueError, OSError) as error:  # OSError: no JPEG
        raise DatasetMissing(
            f"the test images of {family} are missing or damaged ({error}); "
            "make them with `python scripts/make_sample.py`"
        ) from error


def _to_jpeg(image: NDArray[np.uint8]) -> bytes:
    """(3, H, W) -> a JPEG file, its colours not subsampled."""
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _from_jpeg(stored: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """(N, 3, H, W) of a file's 'jpeg', the bytes of all images in a row, and 'ends' (N,)."""
    parts = np.split(stored["jpeg"], stored["ends"][:-1])
    opened = [Image.open(io.BytesIO(part.tobytes()), formats=["JPEG"]) for part in parts]
    return np.stack([np.asarray(picture.convert("RGB")).transpose(2, 0, 1) for picture in opened])
