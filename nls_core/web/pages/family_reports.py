"""A family's reports for the pages: read when a page is opened, again only when a file changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from nls_core import zoo
from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import report, stored_runs, verdicts
from nls_core.evidence.cells import ordered
from nls_core.evidence.stored_runs import Run, Runs
from nls_core.evidence.verdicts import Evidence


@dataclass(frozen=True)
class Reports:
    """The aggregate, the raw runs, the test labels (N,) and the shipped seeds of one family."""

    evidence: Evidence
    runs: Runs
    labels: Tensor
    shipped: Mapping[str, int]  # cell -> seed

    def run(self, cell: str) -> Run:
        """The run of a cell whose weights ship; the first one where they do not."""
        every, seed = self.runs[cell], self.shipped.get(cell)
        return every[seed if seed in every else min(every)]


Where = tuple[str, Path]  # a family, and the models folder that holds it


def families(analyzer: Analyzer) -> list[str]:
    """The families that have a report, sorted."""
    folder = analyzer.settings.models_dir
    return [each for each in analyzer.families() if (folder / each / report.REPORT).exists()]


def where(analyzer: Analyzer) -> Where | None:
    """The first family that has a report; None where the page can only say what makes one."""
    return next(((f, analyzer.settings.models_dir) for f in families(analyzer)), None)


def cells(family: str, models_dir: Path, *, attacked: bool = False) -> list[str]:
    """The trained cells of a report in the order of tables; `attacked`: with figures under attack.

    Reads the report alone, so that the app starts quickly.
    """
    every = verdicts.read(family, models_dir).cells
    trained = [cell for cell in ordered(every) if not cell.startswith(report.TEMPERED)]
    return [cell for cell in trained if not attacked or "robust" in every[cell]]


def load(family: str, models_dir: Path) -> Reports:
    """A family's reports.

    Raises:
        CheckpointError: they are missing or damaged.
    """
    path = models_dir / family / report.REPORT
    changed = path.stat().st_mtime_ns if path.exists() else 0
    return _load(family, models_dir, changed)


@lru_cache(maxsize=2)
def _load(family: str, models_dir: Path, changed: int) -> Reports:
    runs, labels = stored_runs.read(models_dir / family / stored_runs.FOLDER)
    named = [zoo.read_manifest(i, models_dir) for i in zoo.available(models_dir, family)]
    shipped = {f"{each.loss}-{each.padding}": each.seed for each in named}
    return Reports(verdicts.read(family, models_dir), runs, labels, shipped)
