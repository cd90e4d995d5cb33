"""Does a new measurement give what the committed raw results say? For whoever doubts them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nls_core import files
from nls_core.errors import CheckpointError
from nls_core.evidence import robustness, stored_runs
from nls_core.evidence.cells import Table
from nls_core.types import Manifest

# Largest difference that counts as agreement: on the same machine and library versions there is
# none; elsewhere, rounding moves single images of 10,000 (clean, shift, ood), of 500 (attacks,
# which also draw at random: the 95 % interval of a share is ±0.044 at most) or of 200 (maps).
Key = tuple[str, ...]  # the way to a figure in what was measured: ("shift", "blur", "1", "ece")
ALLOWED: dict[Key, float] = {
    ("metrics",): 0.002,
    ("metrics", "mce"): 0.05,  # of one bin, which may hold a few images
    ("temperature",): 0.01,
    ("shift",): 0.005,
    ("ood",): 0.005,
    ("robust",): 0.044,
    ("attacked",): 0.044,
    ("masking",): 0.044,
    ("maps",): 0.05,
}
ELSEWHERE = (robustness.TRANSFER, robustness.WORST)  # depend on the models measured along


def read(manifest: Manifest, models_dir: Path) -> dict[str, Any]:
    """The committed raw results of a stored model, of the very same weights.

    Raises:
        CheckpointError: there are none, they are damaged, or of other weights.
    """
    cell = manifest.id.split("/")[1]
    path = models_dir / manifest.family / stored_runs.FOLDER / cell / f"seed{manifest.seed}.json"
    kept: dict[str, Any] = files.read_json(path)
    if kept.get("sha256") != manifest.sha256:
        raise CheckpointError(f"{files.shown(path)} is of other weights than {manifest.id}")
    return kept


def figures(found: Mapping[str, Any]) -> dict[Key, float]:
    """All numbers of what was measured of a model; those of a list are counted from 1."""
    parts = dict.fromkeys(key[0] for key in ALLOWED)
    return {
        key: value
        for part in parts
        for key, value in _flat((part,), found.get(part))
        if not set(key) & set(ELSEWHERE)
    }


def _flat(key: Key, value: Any) -> Iterator[tuple[Key, float]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat((*key, name), each)
    elif isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield from _flat((*key, str(number)), each)
    elif isinstance(value, int | float):
        yield key, float(value)


def allowed(key: Key) -> float:
    """How far a figure may be off: the most special entry of `ALLOWED`."""
    return ALLOWED.get(key[:2], ALLOWED[key[:1]])


def compare(found: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[Table, list[str]]:
    """Compare every figure that both have.

    Args:
        found: what was measured now, as `collect.to_json` gives it.
        kept: as `read` gives it.

    Returns:
        A table with a row for each part, and a line for each figure that does not agree.
    """
    now, then = figures(found), figures(kept)
    gaps = {key: abs(now[key] - then[key]) for key in now if key in then}
    off = [key for key, gap in gaps.items() if not gap <= allowed(key)]
    rows = [["part", "figures", "identical", "largest difference", "verdict"]]
    for part in dict.fromkeys(key[0] for key in gaps):
        mine = {key: gap for key, gap in gaps.items() if key[0] == part}
        same = sum(math.isclose(gap, 0, abs_tol=1e-12) for gap in mine.values())
        largest = max(mine.values(), key=lambda gap: (math.isnan(gap), gap))
        verdict = "differs" if set(mine) & set(off) else "agrees"
        rows.append([part, str(len(mine)), str(same), f"{largest:.2g}", verdict])
    return rows, [
        f"{' '.join(key)}: {then[key]:.6g} is committed, {now[key]:.6g} was measured; "
        f"{allowed(key):g} would be allowed"
        for key in off
    ]
