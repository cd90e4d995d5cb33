"""Folds of objects: stratified by class, near-duplicates together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

FOLDS = 5
SEED = 0
NEAR = 6  # of 64 bits in which the hashes of near-duplicates may differ


@dataclass(frozen=True)
class Stamp:
    """One object: `name` is its file `<name>.png` in the folder of the data set.

    `source` is the file in the package; `kind` 'photo' or 'drawing'. Objects of one `group` are
    near-duplicates and share a `fold`.
    """

    name: str
    label: str
    source: str
    kind: str
    group: int = -1
    fold: int = -1


def perceptual_hash(cutout: Image.Image) -> int:
    """64 bits: whether each of 8 x 8 places is brighter than its right neighbour, on white."""
    white = Image.new("RGBA", cutout.size, "white")
    white.alpha_composite(cutout)
    grey = np.asarray(white.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=int)
    bits = (grey[:, :-1] > grey[:, 1:] + 2).flatten()  # 2: noise in a plain area is no edge
    return int("".join("01"[int(bit)] for bit in bits), 2)


def group(stamps: Sequence[Stamp], hashes: Sequence[tuple[int, int]]) -> list[int]:
    """For each stamp the number of its group of near-duplicates.

    Stamps of one class are near-duplicates when their names differ in a last number only, or
    their perceptual hashes in at most `NEAR` bits, also mirrored: `hashes` holds both.
    """
    root = list(range(len(stamps)))
    for i, one in enumerate(stamps):
        for j in range(i):
            if one.label == stamps[j].label and (
                _stem(one) == _stem(stamps[j])
                or min((h ^ hashes[j][0]).bit_count() for h in hashes[i]) <= NEAR
            ):
                old, new = root[i], root[j]
                root = [new if r == old else r for r in root]
    order = {r: k for k, r in enumerate(dict.fromkeys(root))}
    return [order[r] for r in root]


def _stem(stamp: Stamp) -> str:
    return re.sub(r"[\d_-]+$", "", Path(stamp.source).stem.lower())


def fold(labels: Sequence[str], groups: Sequence[int]) -> list[int]:
    """For each object one of `FOLDS` folds, groups whole and classes spread evenly."""
    folds = [-1] * len(labels)
    rng = np.random.default_rng(SEED)
    totals = [0] * FOLDS
    for label in dict.fromkeys(labels):
        members: dict[int, list[int]] = {}
        for i in (i for i, other in enumerate(labels) if other == label):
            members.setdefault(groups[i], []).append(i)
        parts = list(members.values())
        parts = [parts[i] for i in rng.permutation(len(parts))]
        counts = [0] * FOLDS
        for part in sorted(parts, key=len, reverse=True):
            chosen = min(range(FOLDS), key=lambda f: (counts[f], totals[f], f))
            counts[chosen] += len(part)
            totals[chosen] += len(part)
            for i in part:
                folds[i] = chosen
    return folds
