"""Folders of small pictures whose colour is their class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ("blue", "green", "red")  # in the order of a data set: by name


def folders(root: Path, *, each: int = 12, edge: int = 24, names: tuple[str, ...] = COLOURS) -> str:
    """`imagefolder:…` of `root`/{train,test}/<colour>/<number>.png."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for colour, name in zip(COLOURS, names, strict=True):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = rng.integers(0, 80, (edge, edge, 3), dtype=np.uint8)
                pixels[..., ("red", "green", "blue").index(colour)] += 120
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return f"imagefolder:{root}"
