"""Where a comparison begins: in which family, with which baseline and which candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nls_core import families
from nls_core.errors import CheckpointError
from nls_core.evidence import report
from nls_core.evidence.cells import BASE, TEMPERED
from nls_core.types import Manifest

NORMALIZED = "nls"  # what the names of losses with normalized labels begin with
MARGIN = 0.01  # of accuracy, to the best model


@dataclass(frozen=True)
class Measured:
    """What the choice looks at: shares in [0, 1]; what was not measured is the worst."""

    accuracy: float = 0.0
    ece: float = math.inf


def opening(names: Iterable[str]) -> tuple[str, ...]:
    """Families as Compare and `nls compare` take them: first those of what people upload."""
    known = families.FAMILIES
    return tuple(
        sorted(
            families.ordered(names), key=lambda name: name not in known or not known[name].uploads
        )
    )


def pair(cells: Mapping[str, Measured]) -> tuple[str, str]:
    """The cells that a comparison begins with, baseline first.

    Args:
        cells: `<loss>-<padding>` and what was measured of each, at least one.

    Returns:
        ce-zero (else the first cell of ce, else the first), and of the cells with normalized labels
        the one of the lowest ECE among those within `MARGIN` of the best accuracy of all; where
        none is that accurate, the most accurate one. Without such cells, the candidate is the one
        of the lowest ECE of another loss. Both are one where there is only one.

    Raises:
        CheckpointError: there are no cells.
    """
    if not cells:
        raise CheckpointError("expected a model to begin with; got none")
    of_ce = [cell for cell in cells if loss_of(cell) == "ce"]
    baseline = BASE if BASE in cells else (of_ce or list(cells))[0]
    normalized = [cell for cell in cells if loss_of(cell).startswith(NORMALIZED)]
    normalized = [cell for cell in normalized if cell != baseline]
    enough = max(each.accuracy for each in cells.values()) - MARGIN - 1e-9
    near = [cell for cell in normalized if cells[cell].accuracy >= enough]
    if normalized and not near:
        return baseline, min(normalized, key=lambda c: (-cells[c].accuracy, cells[c].ece))
    others = [cell for cell in cells if loss_of(cell) != loss_of(baseline)]
    left = near or others or [cell for cell in cells if cell != baseline] or [baseline]
    return baseline, min(left, key=lambda cell: cells[cell].ece)


def of_report(record: Mapping[str, Any]) -> dict[str, Measured]:
    """What a family's report.json says of its trained cells: means over the seeds."""
    return {
        cell: Measured(*(found["metrics"][name]["mean"] for name in ("accuracy", "ece")))
        for cell, found in record["cells"].items()
        if loss_of(cell) != TEMPERED
    }


def models(
    family: str, ids: Sequence[str], manifest: Callable[[str], Manifest], models_dir: Path
) -> tuple[str, str]:
    """`pair` as ids of a family's models, by its report.

    By their manifests where the report does not hold them all, or is gone; `manifest` reads one.
    """
    cells = {i.partition("/")[2]: of_manifest(manifest(i)) for i in ids}
    try:
        reported = of_report(report.read(family, models_dir))
    except (CheckpointError, LookupError, TypeError):  # the pages over the report say so
        reported = {}
    if set(cells) <= set(reported):
        cells = {cell: reported[cell] for cell in cells}
    first, second = pair(cells)
    return f"{family}/{first}", f"{family}/{second}"


def of_manifest(manifest: Manifest) -> Measured:
    """What a manifest says of its one model."""
    found = manifest.metrics
    return Measured(found.get("accuracy", 0.0), found.get("ece", math.inf))


def loss_of(cell: str) -> str:
    """The loss of `<loss>-<padding>`; only the last hyphen parts them."""
    return cell.rpartition("-")[0]
