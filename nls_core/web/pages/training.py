"""The page *Training*: how fast each cell learnt, and how its learning rate was chosen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import paper_claims
from nls_core.evidence.verdicts import Evidence
from nls_core.families import FAMILIES
from nls_core.views import html, run_charts
from nls_core.web.pages import aberrations, family_reports
from nls_core.web.pages.contents import ARRIVE, Contents
from nls_core.web.pages.widgets import PRIVATE, explained, intro, note

INTRO = """Every epoch of every run. Each loss has the learning rate that a search on the validation
split gave it: at cross-entropy's own rate the normalized loss would hardly learn."""
KEYS = {
    "validation accuracy": "val_accuracy",
    "validation ECE-15": "val_ece",
    "validation NLL": "val_nll",
    "validation confidence": "val_confidence",
    "training loss": "train_loss",
}
SCHEDULE = {
    "step": "The rate falls tenfold at half and at three quarters of the epochs: that is where the "
    "curves jump.",
    "cosine": "The rate falls along half a cosine.",
}
PARTS = {
    "curves": "Curves and convergence",
    "search": "Learning rates, and what the smoothing does",
    "read": "How it is read",
}
READ = """{schedule} Bands are one standard deviation over
seeds. The table counts epochs until validation accuracy first reaches 85, 88 and 90 %. The right
chart below tests what theory says, nls = (1-s)·NCE + s/K: at matched step size the smoothing
changes nothing in nls, and much in ls. Training losses of different losses have different units."""


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Training", INTRO)
    opening = family_reports.opening(analyzer, trained)
    if opening is None:
        return
    folder, family, shown = analyzer.settings.models_dir, opening.family, opening.models
    with opening.row:
        key = gr.Dropdown(list(KEYS), value=next(iter(KEYS)), label="Curve")
    more = aberrations.PARTS if aberrations.declared(opening.name) else {}
    parts = Contents("/ui/training", PARTS | more)
    parts.show()
    parts.heading("curves")
    curve = gr.Plot(show_label=False)
    table = gr.HTML(elem_id="convergence")
    parts.heading("search")
    with gr.Row():
        search, smoothing = (gr.Plot(show_label=False, min_width=300) for _ in range(2))
    parts.heading("read")
    read = note(how_to_read(opening.name))
    aberrations.part(folder, family, opening.name)
    hidden: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
    family.input(partial(other, folder), family, [shown, read], **hidden)
    gr.on(None, partial(show, folder), [family, shown, key], curve, **hidden)
    gr.on(None, partial(show_rest, folder), family, [table, search, smoothing], **hidden).then(
        None, js=ARRIVE, **PRIVATE
    )


def trained(evidence: Evidence) -> bool:
    """Whether a family's runs have a curve: those of the protocol out of fold have none."""
    return any("curve_area" in cell["metrics"] for cell in evidence.cells.values())


def how_to_read(family: str) -> str:
    """What the curves rest on, in words; the schedule is that of the family's recipe."""
    recipe = FAMILIES[family].recipe if family in FAMILIES else None
    return READ.format(schedule=SCHEDULE[recipe.schedule] if recipe else "")


def other(folder: Path, family: str) -> list[Any]:
    """Fill the menu of models for another family, and say what its curves rest on."""
    cells, start = family_reports.choices((family, folder))
    return [gr.update(choices=cells, value=start), explained(how_to_read(family))]


def show(folder: Path, family: str, cells: list[str], key: str) -> Any:
    """The chosen curve of the chosen cells, those of another family left out."""
    runs = family_reports.load(family, folder).runs
    return run_charts.curves(runs, KEYS[key], [cell for cell in cells if cell in runs])


def show_rest(folder: Path, family: str) -> list[Any]:
    """The table of convergence, the search and the ablation."""
    evidence = family_reports.load(family, folder).evidence
    table = html.table(paper_claims.convergence(evidence).table)
    return [
        table,
        run_charts.search(evidence.search),
        run_charts.smoothing(evidence.ablations),
    ]
