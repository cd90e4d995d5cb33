"""What findings are made of: a family's reports, claims, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nls_core import files
from nls_core.evidence import report
from nls_core.evidence.cells import Cells, Table

HOLDS = "holds"
PARTLY = "holds in part"
NOT = "does not hold here"
UNDECIDED = "cannot be told yet"

BENCH = "bench.json"  # the output of `nls bench --json`


@dataclass(frozen=True)
class Finding:
    """One claim: its verdict, why, the table behind it, and the chart that shows it."""

    key: str  # of the chart and of the section's anchor
    claim: str
    verdict: str
    text: str
    table: Table
    command: str


@dataclass(frozen=True)
class Evidence:
    """What the findings are made from."""

    family: str
    record: Mapping[str, Any]  # report.json
    search: Mapping[str, Any]
    ablations: Mapping[str, Any]
    bench: Sequence[Mapping[str, Any]] = ()  # bench.json

    @property
    def cells(self) -> Cells:
        """The report's cells."""
        cells: Cells = self.record["cells"]
        return cells


def read(family: str, models_dir: Path) -> Evidence:
    """Read a family's reports.

    Raises:
        CheckpointError: the report is missing, or it or another file is damaged.
    """

    def other(name: str, kind: type = dict) -> Any:
        path = models_dir / family / name
        return files.read_json(path, kind) if path.exists() else kind()

    return Evidence(
        family,
        report.read(family, models_dir),
        other("search.json"),
        other("ablations.json"),
        other(BENCH, list),
    )


def side(entry: Mapping[str, Any] | None, key: str = "vs_ce_zero") -> int | None:
    """-1 or 1 where the interval of a difference is all below or above 0, else 0.

    None where there is no interval, as with one pair of runs and no figure per image.
    """
    found = (entry or {}).get(key)
    if not found or found["low"] is None:
        return None
    return int(found["low"] > 0) - int(found["high"] < 0)


def lower(entry: Mapping[str, Any] | None, key: str = "vs_ce_zero") -> int | None:
    """`side` for what is better when it is lower."""
    found = side(entry, key)
    return None if found is None else -found


def verdict(sides: Sequence[int | None]) -> str:
    """A verdict from intervals on the claim's side (1), on none (0), or on the other (-1)."""
    known = [each for each in sides if each is not None]
    if not known:
        return UNDECIDED
    if all(each > 0 for each in known):
        return HOLDS
    return PARTLY if any(each > 0 for each in known) else NOT
