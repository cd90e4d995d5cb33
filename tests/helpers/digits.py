"""A third family, as somebody would add it: one entry of data, one entry of `FAMILIES`.

Handwritten digits that scikit-learn carries, enlarged to 28x28: nothing has to be downloaded. Its
name has a hyphen and sorts before all others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nls_core.data import datasets
from nls_core.data.datasets import Data
from nls_core.families import FAMILIES, Family
from nls_core.families.recipe import Recipe

NAME, DATASET = "aaa-digits", "sklearn-digits"
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAIN, TEST = slice(0, 400), slice(1000, 1060)
FAMILY = Family(
    NAME,
    Recipe(dataset=DATASET, arch="smallresnet-8", epochs=2, batch_size=32, flip=False, amp=False),
    rates={"ce": (0.1,), "nls": (1.0,)},
    search_epochs=1,
    paddings=("zero",),
    headline=("ce-zero", "nls-zero"),
)


def load(folder: Path, split: str, download: bool) -> Data:
    """400 and 60 of the digits, (N, 1, 28, 28)."""
    from sklearn.datasets import load_digits

    part = TRAIN if split == "train" else TEST
    labels = torch.from_numpy(load_digits().target).long()[part]
    return Data(DATASET, datasets.digits((1, 28, 28), 0)[part], labels, CLASSES, "center-crop")


ENTRIES: tuple[tuple[dict[str, Any], str, Any], ...] = (
    (datasets.DATASETS, DATASET, load),
    (FAMILIES, NAME, FAMILY),
)
# training processes of their own read it at their start, where PYTHONPATH names its folder
SITE = """from tests.helpers import digits

for registry, name, entry in digits.ENTRIES:
    registry[name] = entry
"""
