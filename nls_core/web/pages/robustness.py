"""The page *Robustness*: what is left under attack, and whether the attacks can be believed."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import report, robustness, verdicts
from nls_core.evidence.cells import Table, label, percent
from nls_core.evidence.verdicts import Evidence
from nls_core.views import evidence_charts, html
from nls_core.web.pages import family_reports
from nls_core.web.pages.family_reports import Where
from nls_core.web.pages.widgets import PRIVATE, intro, no_report, note

INTRO = """White-box attacks see the gradient; Square sees only answers; transfer shows one model
the images made against another. A defence that only hides its gradient looks strong to the first
and weak to the others: so all stand side by side, and the worst of all for each image is what
counts."""
READ = """<b>How it is read.</b> ε bounds the change of every pixel (L∞, pixels in [0, 1]). A
figure of one seed rests on {images} test images: its standard error is up to {error:.1f} points.
{attacks}. The verdict <i>masking</i> means that a named sign was seen in at least one run
(arXiv 1802.00420, 2009.08233): {signs}."""


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Robustness", INTRO)
    where = family_reports.where(analyzer)
    cells = family_reports.cells(*where, attacked=True) if where else []
    if where is None or not cells:
        no_report()
        return
    attacks = list(robustness.MEANING)
    start = [c for c in cells if c.endswith("-zero")] or cells
    with gr.Row():
        shown = gr.Dropdown(cells, value=start, multiselect=True, label="Models")
        attack = gr.Dropdown(attacks, value=robustness.WORST, label="Attack")
        one = gr.Dropdown(cells, value=cells[0], label="Every attack on")
        epsilon = gr.Dropdown(report.epsilon_keys(), value="4", label="Transfer at ε (1/255)")
    with gr.Row():
        accuracy, every = (gr.Plot(show_label=False, min_width=300) for _ in range(2))
    with gr.Row():
        error, transfer = (gr.Plot(show_label=False, min_width=300) for _ in range(2))
    gr.HTML("<p class=nls-cue>Accuracy under the worst attack, in %, and signs of masking</p>")
    table = gr.HTML(elem_id="masking")
    for inputs, work, output in (
        ([shown, attack], _accuracy, accuracy),
        ([one], _every, every),
        ([shown], _error, error),
        ([epsilon], _transfer, transfer),
    ):
        gr.on(None, partial(work, where), inputs, output, show_progress="hidden", **PRIVATE)
    gr.on(None, partial(_masking, where), None, table, show_progress="hidden", **PRIVATE)
    note(how_to_read(verdicts.read(*where)))


def how_to_read(evidence: Evidence) -> str:
    """What the figures rest on, in words."""
    images = evidence.record["data"]["attacked_images"]
    attacks = "; ".join(f"<i>{name}</i>: {text}" for name, text in robustness.MEANING.items())
    signs = "; ".join(f"<i>{name}</i>: {text}" for name, text in robustness.SIGNS.items())
    return READ.format(images=images, error=50 / images**0.5, attacks=attacks, signs=signs)


def _accuracy(where: Where, cells: list[str], attack: str) -> Any:
    return evidence_charts.over_epsilon(family_reports.load(*where).evidence.cells, attack, cells)


def _every(where: Where, cell: str) -> Any:
    return evidence_charts.attacks_of(family_reports.load(*where).evidence.cells, cell)


def _error(where: Where, cells: list[str]) -> Any:
    return evidence_charts.error_over_epsilon(family_reports.load(*where).evidence.cells, cells)


def _transfer(where: Where, epsilon: str) -> Any:
    return evidence_charts.transfer(family_reports.load(*where).evidence.cells, epsilon)


def _masking(where: Where) -> str:
    return html.table(masking_table(family_reports.load(*where).evidence))


def masking_table(evidence: Evidence) -> Table:
    """Accuracy under the worst attack in %, and the verdict on masking with what it rests on."""
    keys = report.epsilon_keys()
    head = ["model", "runs", *(f"{key}/255" for key in keys), "masking", "signs (runs)",
            "no gradient %", "at 128/255 %"]  # fmt: skip
    rows = []
    for cell, found in evidence.cells.items():
        if "masking" not in found:
            continue
        verdict = found["masking"]
        signs = ", ".join(verdict["signs"]) or "none"
        rows.append(
            [
                label(cell),
                str(verdict["runs"]),
                *(percent(found["robust"][robustness.WORST][key], 1) for key in keys),
                verdict["verdict"],
                f"{signs} ({verdict['runs_with_signs']})",
                percent(verdict["zero_gradient"], 1),
                percent(verdict["far"], 1),
            ]
        )
    return [head, *rows]
