"""A family's reports for the pages: read when a page is opened, again only when a file changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import gradio as gr
from torch import Tensor

from nls_core import zoo
from nls_core.analysis import choice
from nls_core.analysis.analyzer import Analyzer
from nls_core.errors import CheckpointError
from nls_core.evidence import report, stored_runs, verdicts
from nls_core.evidence.cells import TEMPERED, ordered
from nls_core.evidence.stored_runs import Run, Runs
from nls_core.evidence.verdicts import Evidence
from nls_core.web.pages.widgets import no_report


@dataclass(frozen=True)
class Reports:
    """The aggregate, the raw runs, the test labels (N,) and the shipped seeds of one family.

    So many answers in a row as `renderings` says are of one object.
    """

    evidence: Evidence
    runs: Runs
    labels: Tensor
    shipped: Mapping[str, int]  # cell -> seed
    renderings: int

    def run(self, cell: str) -> Run:
        """The run of a cell whose weights ship; the first one where they do not."""
        every, seed = self.runs[cell], self.shipped.get(cell)
        return every[seed if seed in every else min(every)]


Where = tuple[str, Path]  # a family, and the models folder that holds it


def families(
    analyzer: Analyzer, shows: Callable[[Evidence], bool] = lambda evidence: True
) -> list[str]:
    """The families whose report has what a page shows, in the order of menus.

    A damaged report hides its own family alone.

    Raises:
        CheckpointError: there are damaged reports only.
    """
    folder = analyzer.settings.models_dir
    found, damaged = [], None
    for family in analyzer.families():
        if not (folder / family / report.REPORT).exists():
            continue
        try:
            if shows(verdicts.read(family, folder)):
                found.append(family)
        except CheckpointError as error:
            damaged = error
    if damaged and not found:
        raise damaged
    return found


def has(*parts: str) -> Callable[[Evidence], bool]:
    """Whether a cell of a report has all of some entries, such as 'robust' or 'masks'."""
    return lambda evidence: any(set(parts) <= set(cell) for cell in evidence.cells.values())


def menu(names: Sequence[str]) -> gr.Dropdown:
    """The menu of a page's families, hidden where there is one only."""
    return gr.Dropdown(
        list(names), value=names[0], label="Family", visible=len(names) > 1, elem_id="family"
    )


@dataclass(frozen=True)
class Opening:
    """How a page of cells begins: its row of menus, the family in it and that family's cells."""

    row: gr.Row
    family: gr.Dropdown
    models: gr.Dropdown
    name: str
    cells: list[str]


def opening(
    analyzer: Analyzer, shows: Callable[[Evidence], bool], *, attacked: bool = False
) -> Opening | None:
    """Make the menus of families and cells; None, and on the page what to do, without a report.

    Args:
        analyzer: whose models folder holds the reports.
        shows: as `families`.
        attacked: as `cells`.
    """
    names = families(analyzer, shows)
    if not names:
        no_report()
        return None
    every, first = choices((names[0], analyzer.settings.models_dir), attacked=attacked)
    with gr.Row() as row:
        family = menu(names)
        models = gr.Dropdown(every, value=first, multiselect=True, label="Models")
    return Opening(row, family, models, names[0], every)


def choices(where: Where, *, attacked: bool = False) -> tuple[list[str], list[str]]:
    """The cells of a family, and those that are shown first: without partial padding."""
    every = cells(*where, attacked=attacked)
    return every, [cell for cell in every if cell.endswith("-zero")] or every


def start(family: str, names: Sequence[str], models_dir: Path) -> list[str]:
    """The cells of `names` that a page begins with: the family's baseline and candidate."""
    every = choice.of_report(verdicts.read(family, models_dir).record)
    return list(choice.pair({name: every[name] for name in names}))


def cells(family: str, models_dir: Path, *, attacked: bool = False) -> list[str]:
    """The trained cells of a report in the order of tables; `attacked`: with figures under attack.

    Reads the report alone, so that the app starts quickly.
    """
    every = verdicts.read(family, models_dir).cells
    trained = [cell for cell in ordered(every) if not cell.startswith(TEMPERED)]
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
    raw = models_dir / family / stored_runs.FOLDER
    runs, labels = stored_runs.read(raw)
    named = [zoo.read_manifest(i, models_dir) for i in zoo.available(models_dir, family)]
    shipped = {f"{each.loss}-{each.padding}": each.seed for each in named}
    evidence, renderings = verdicts.read(family, models_dir), stored_runs.read_renderings(raw)
    return Reports(evidence, runs, labels, shipped, renderings)
