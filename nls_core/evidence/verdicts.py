"""What findings are made of: a family's reports, claims, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nls_core import files
from nls_core.evidence import aberrations, baselines, report
from nls_core.evidence.cells import Cells, Table, parts
from nls_core.metrics.intervals import holm

HOLDS = "holds"
PARTLY = "holds in part"
NOT = "does not hold"
UNDECIDED = "undecided"

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
    aberrations: Mapping[str, Any] = field(default_factory=dict)  # aberrations.json
    baselines: Mapping[str, Any] = field(default_factory=dict)  # baselines.json

    @property
    def cells(self) -> Cells:
        """The report's cells."""
        cells: Cells = self.record["cells"]
        return cells

    @property
    def attacks(self) -> dict[str, str]:
        """What the attacks are that its cells met, by name, in the order of the report."""
        met = dict.fromkeys(name for cell in self.cells.values() for name in cell.get("robust", {}))
        said: Mapping[str, str] = self.record["data"]["attacks"]
        return {k: said[k] for k in said if k in met} | {k: k for k in met if k not in said}


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
        aberrations.read(family, models_dir),
        baselines.read(family, models_dir),
    )


@dataclass(frozen=True)
class Endpoint:
    """One difference that a claim is about.

    `gap` is a difference as reports hold it; `better` is 1 where more is better and -1 where less
    is; `margin` is the difference that would not matter, by `docs/rules.md`.
    """

    name: str
    gap: Mapping[str, Any] | None
    better: int
    margin: float

    @property
    def outcome(self) -> str | None:
        """BETTER, WORSE, EQUAL or OPEN; None without an interval (one run, and no images)."""
        gap = self.gap
        if not gap or gap["low"] is None:
            return None
        if gap["low"] > 0 or gap["high"] < 0:
            return BETTER if (gap["low"] > 0) == (self.better > 0) else WORSE
        # two one-sided tests: the 90 % interval lies within the margin (Schuirmann 1987)
        equal = gap.get("low_90") is not None and (
            -self.margin < gap["low_90"] and gap["high_90"] < self.margin
        )
        return EQUAL if equal else OPEN


BETTER = "better"
WORSE = "worse"
EQUAL = "equal"
OPEN = "undecided"
ALPHA = 0.05
# what would not matter, written down in docs/rules.md before the runs
MARGINS: dict[str, float] = {
    "accuracy": 0.003,
    "curve_area": 0.003,
    "ece": 0.003,
    "nll": 0.005,
    "brier": 0.003,
    "aurc": 0.0005,
    "accuracy_shift": 0.01,
    "ece_shift": 0.01,
    "robust": 0.02,
    "maps": 0.02,
}
LESS_IS_BETTER = ("ece", "nll", "brier", "aurc", "ece_shift")


def endpoint(cells: Cells, cell: str, name: str, key: str = "vs_ce_zero") -> Endpoint:
    """The endpoint of a metric of `MARGINS`: a cell against the baseline, or by `key`."""
    found = cells.get(cell, {}).get("metrics", {}).get(name, {}).get(key)
    better = -1 if name in LESS_IS_BETTER else 1
    _, padding = parts(cell)
    return Endpoint(f"{name.replace('_', ' ')} ({padding})", found, better, MARGINS[name])


def verdict(endpoints: Sequence[Endpoint]) -> str:
    """A claim's verdict by its endpoints, as docs/rules.md says; what was not measured is open."""
    outcomes = [each.outcome for each in endpoints]
    if outcomes and all(each == BETTER for each in outcomes):
        return HOLDS
    tested = [each for each in endpoints if each.gap and each.gap.get("p") is not None]
    adjusted = holm([float(each.gap["p"]) for each in tested if each.gap])
    if any(e.outcome == BETTER and p < ALPHA for e, p in zip(tested, adjusted, strict=True)):
        return PARTLY
    if outcomes and all(each in (WORSE, EQUAL) for each in outcomes):
        return NOT
    return UNDECIDED


def of_conditions(met: Mapping[str, bool]) -> str:
    """The verdict on an aim that holds where all of its conditions are met; open without any."""
    if not met:
        return UNDECIDED
    return HOLDS if all(met.values()) else PARTLY if any(met.values()) else NOT


def conditions(met: Mapping[str, bool]) -> str:
    """Which conditions are met, as a sentence."""
    shown = "; ".join(f"{name}: {'met' if good else 'not met'}" for name, good in met.items())
    return f"Conditions: {shown}." if shown else ""


def outcomes(endpoints: Sequence[Endpoint]) -> str:
    """What each endpoint showed, as one sentence."""
    shown = "; ".join(f"{each.name}: {each.outcome or 'not measured'}" for each in endpoints)
    return f"Endpoints: {shown}." if shown else ""
