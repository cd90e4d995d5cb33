"""Tiny synthetic stamps, laid out as Debian's tuxpaint-stamps-default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

FOLDERS = {
    "animal": "animals/birds",
    "building": "town/houses/cartoon",
    "clothing": "clothes",
    "food": "food/fruit",
    "household": "household/tools",
    "music": "hobbies/music/string",
    "plant": "plants/flowers",
    "vehicle": "vehicles/auto",
}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" {size}><path d="M10 20 L70 20 L10 60 Z"/></svg>'


def png(path: Path, seed: int, edge: int = 60) -> None:
    """A random blob of random colours, RGBA, with a transparent border of 5 pixels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 5, 4), dtype=np.uint8)
    small[..., 3] = np.where(rng.random((5, 5)) < 0.3, 0, 255)
    small[2] = [*rng.integers(0, 256, 3), 255]  # opaque from edge to edge
    image = Image.new("RGBA", (edge + 10, edge + 10))
    image.paste(Image.fromarray(small).resize((edge, edge), Image.Resampling.NEAREST), (5, 5))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def lay_out(root: Path, each: int = 5) -> Path:
    """`each` PNG stamps of every class, with names that differ in more than a number."""
    for k, folder in enumerate(FOLDERS.values()):
        for i in range(each):
            png(root / folder / f"thing_{'abcdefghij'[i]}.png", seed=100 * k + i)
    return root


def svg(path: Path, size: str = 'width="80" height="80"') -> None:
    """A triangle, 60 x 40 units large, on a page of the given size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SVG.format(size=size), encoding="utf-8")
