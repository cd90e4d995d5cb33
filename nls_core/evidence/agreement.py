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
ALLOWED: dict[str, float] = {
    "metrics": 0.002,
    "metrics mce": 0.05,  # of one bin, which may hold a few images
    "temperature": 0.01,
    "shift": 0.005,
    "ood": 0.005,
    "robust": 0.044,
    "attacked": 0.044,
    "masking": 0.044,
    "maps": 0.05,
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


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """All numbers of what was measured of a model, by a name of words with spaces between."""
    return {
        name: value
        for key in ALLOWED
        for name, value in _flat(key, found.get(key))
        if not any(f" {case} " in name for case in ELSEWHERE)
    }


def _flat(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(f"{name} {key}", each)
    elif isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield from _flat(f"{name} {number}", each)
    elif isinstance(value, int | float):
        yield name, float(value)


def allowed(name: str) -> float:
    """How far a figure may be off: the most special entry of `ALLOWED`."""
    return ALLOWED.get(name, ALLOWED[name.split(" ", maxsplit=1)[0]])


def compare(found: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[Table, list[str]]:
    """Compare every figure that both have.

    Args:
        found: what was measured now, as `collect.to_json` gives it.
        kept: as `read` gives it.

    Returns:
        A table with a row for each part, and a line for each figure that does not agree.
    """
    now, then = figures(found), figures(kept)
    names = [name for name in now if name in then]
    gaps = {name: abs(now[name] - then[name]) for name in names}
    off = [name for name in names if not gaps[name] <= allowed(name)]
    rows = [["part", "figures", "identical", "largest difference", "verdict"]]
    for part in dict.fromkeys(name.split(" ")[0] for name in names):
        mine = [name for name in names if name.split(" ")[0] == part]
        same = sum(math.isclose(gaps[name], 0, abs_tol=1e-12) for name in mine)
        largest = max((gaps[name] for name in mine), key=lambda gap: (math.isnan(gap), gap))
        verdict = "differs" if set(mine) & set(off) else "agrees"
        rows.append([part, str(len(mine)), str(same), f"{largest:.2g}", verdict])
    return rows, [
        f"{name}: {then[name]:.6g} is committed, {now[name]:.6g} was measured; "
        f"{allowed(name):g} would be allowed"
        for name in off
    ]
