"""The page *Training*: how fast each cell learnt, and how its learning rate was chosen."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import paper_claims
from nls_core.views import html, run_charts
from nls_core.web.pages import family_reports
from nls_core.web.pages.family_reports import Where
from nls_core.web.pages.widgets import PRIVATE, intro, no_report, note

INTRO = """Every epoch of every run. Each loss has the learning rate that a search on the validation
split gave it: at cross-entropy's own rate the normalized loss would hardly learn."""
KEYS = {
    "validation accuracy": "val_accuracy",
    "validation ECE-15": "val_ece",
    "validation NLL": "val_nll",
    "validation confidence": "val_confidence",
    "training loss": "train_loss",
}
READ = """<b>How it is read.</b> The rate falls tenfold at half and at three quarters of the epochs:
that is where the curves jump. Bands are one standard deviation over seeds. The table counts epochs
until validation accuracy first reaches 85, 88 and 90 %. The right chart below tests what theory
says, nls = (1-s)·NCE + s/K: at matched step size the smoothing changes nothing in nls, and much
in ls. Training losses of different losses have different units."""


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Training", INTRO)
    where = family_reports.where(analyzer)
    if where is None:
        no_report()
        return
    cells = family_reports.cells(*where)
    start = [c for c in cells if c.endswith("-zero")] or cells
    with gr.Row():
        shown = gr.Dropdown(cells, value=start, multiselect=True, label="Models")
        key = gr.Dropdown(list(KEYS), value=next(iter(KEYS)), label="Curve")
    curve = gr.Plot(show_label=False)
    table = gr.HTML(elem_id="convergence")
    with gr.Row():
        search, smoothing = (gr.Plot(show_label=False, min_width=300) for _ in range(2))
    note(READ)
    hidden: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
    gr.on(None, partial(show, where), [shown, key], curve, **hidden)
    gr.on(None, partial(show_rest, where), None, [table, search, smoothing], **hidden)


def show(where: Where, cells: list[str], key: str) -> Any:
    """The chosen curve of the chosen cells."""
    return run_charts.curves(family_reports.load(*where).runs, KEYS[key], cells)


def show_rest(where: Where) -> list[Any]:
    """The table of convergence, the search and the ablation."""
    evidence = family_reports.load(*where).evidence
    table = html.table(paper_claims.convergence(evidence).table)
    return [
        table,
        run_charts.search(evidence.search),
        run_charts.smoothing(evidence.ablations),
    ]
