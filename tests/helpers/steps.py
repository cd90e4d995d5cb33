"""A tiny problem for the trainer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nls_core.data.datasets import Data
from nls_core.families.recipe import Recipe

STEPS = 20
RECIPE = Recipe(
    arch="smallresnet-8", epochs=4, batch_size=8, lr=0.05, amp=False, freeze_bn=True, seed=3
)
CLASSES = ("left", "middle", "right")


def separable(count: int = 60) -> Data:
    """(count, 1, 28, 28) noise with a bright bar, whose place is the class."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 80, (count, 1, 28, 28), generator=generator)
    labels = torch.arange(count) % 3
    for image, label in zip(images, labels, strict=True):
        image[:, 4:24, 3 + 9 * label : 6 + 9 * label] += 150
    return Data("separable", images.byte(), labels, CLASSES, "center-crop")


def write_folder(data: Data, folder: Path) -> Path:
    """The images as PNG files, in a folder per class."""
    for number, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        place = folder / data.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray(np.ascontiguousarray(image[0]))
        grey.convert("RGB").save(place / f"{number:03}.png")
    return folder
