"""Where a comparison begins: in which family, with which baseline and which candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from nls_core import families
from nls_core.errors import CheckpointError
from nls_core.types import Manifest


def opening(names: Iterable[str]) -> tuple[str, ...]:
    """Families as Compare and `nls compare` take them: first those of what people upload."""
    known = families.FAMILIES
    return tuple(
        sorted(
            families.ordered(names), key=lambda name: name not in known or not known[name].uploads
        )
    )


def pair(
    family: str, cells: Sequence[str], error: Callable[[str], float] = lambda cell: math.inf
) -> tuple[str, str]:
    """The cells that a comparison begins with, baseline first.

    Args:
        family: whose record may name its pair.
        cells: `<loss>-<padding>` each, at least one.
        error: of a cell, lower is better; asked only where there is not the family's own pair.

    Returns:
        The family's pair; else the first cell of ce and the best cell of another loss. Both are one
        where there is only one.

    Raises:
        CheckpointError: there are no cells.
    """
    if not cells:
        raise CheckpointError(f"expected models of the family {family}; got none")
    wanted = families.pair_of(family)
    if set(wanted) <= set(cells):
        return wanted
    baseline = next((cell for cell in cells if loss_of(cell) == "ce"), cells[0])
    others = [cell for cell in cells if loss_of(cell) != loss_of(baseline)]
    return baseline, min(others or [c for c in cells if c != baseline] or [baseline], key=error)


def models(family: str, ids: Sequence[str], manifest: Callable[[str], Manifest]) -> tuple[str, str]:
    """`pair` as ids of models: the best has the lowest measured ECE; `manifest` reads one by id."""
    cells = [model_id.partition("/")[2] for model_id in ids]
    first, second = pair(
        family, cells, lambda cell: manifest(f"{family}/{cell}").metrics.get("ece", math.inf)
    )
    return f"{family}/{first}", f"{family}/{second}"


def loss_of(cell: str) -> str:
    """The loss of `<loss>-<padding>`; only the last hyphen parts them."""
    return cell.rpartition("-")[0]
