"""The page *Maps*: do activation maps lie on the object, clean and under attack?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import out_of_fold_report, report
from nls_core.evidence.cells import Cells, gap, label, ordered
from nls_core.families import FAMILIES, Masks
from nls_core.views import evidence_charts
from nls_core.web.pages.widgets import PRIVATE, html_table, intro, message, note

INTRO = """The objects of the photos family come with masks, so a map can be scored: how much of it
lies on the object? Every object is answered by a network that never saw it."""
READ = """<b>How it is read.</b> Bars are 95 % intervals over the objects ({objects} clean, every
{every}rd attacked: PGD, {steps} steps, ε = {epsilon:g}/255). <i>Pointing game</i>: the map's
highest point lies on the object (arXiv 1608.00507). <i>Energy inside</i>: the share of the map that
lies on it (arXiv 1910.01279). <i>Best IoU</i>: its overlap with the mask at the best threshold.
Photographers put objects in the middle, so look at the lines: a map of the <i>centre</i> alone, a
<i>random</i> one, and a <i>uniform</i> one, which gets the object's share of the picture. Maps
explain the class that the model names."""
SCORES = {
    "Energy inside": "energy_inside",
    "Pointing game": "pointing_game",
    "Best IoU": "best_iou",
}
NAME = "photos"
MASKS = FAMILIES[NAME].masks or Masks(())
CONTROLS = {"centre": "dash", "random": "dot", "uniform": "solid"}


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Maps", INTRO)
    folder = analyzer.settings.models_dir
    if not (folder / NAME / report.REPORT).exists():
        text = "There are no scored maps yet: `nls data everyday-objects`, then `nls train --grid"
        gr.HTML(message(f"{text} {NAME}`, make them (an hour).", wrong=True))
        return
    with gr.Row():
        score = gr.Dropdown(list(SCORES), value="Energy inside", label="Score")
        method = gr.Dropdown(list(MASKS.methods), value=MASKS.methods[0], label="Activation map")
    with gr.Row():
        for state in MASKS.states:
            plot = gr.Plot(show_label=False, min_width=300)
            work = partial(_plot, folder, state)
            gr.on(None, work, [score, method], plot, show_progress="hidden", **PRIVATE)
    record = report.read(NAME, folder)
    objects = record["data"]["test_images"]
    note(
        READ.format(
            objects=objects, every=MASKS.every, steps=MASKS.steps, epsilon=255 * MASKS.epsilon
        )
    )
    gr.HTML("<p class=nls-cue>What these models are worth, out of fold</p>")
    gr.HTML(html_table(out_of_fold_report.summary(record)), elem_id="out-of-fold")


def _plot(folder: Path, state: str, score: str, method: str) -> Any:
    return chart(report.read(NAME, folder)["cells"], state, method, score)


def chart(cells: Cells, state: str, method: str, score: str) -> go.Figure:
    """A mask score of every cell as a dot with its interval, beside the controls.

    Args:
        cells: of the report of `photos`.
        state: 'clean' or 'attacked'.
        method: of `MASKS`.
        score: a title of `SCORES`.
    """
    figure, key = go.Figure(), SCORES[score]
    names = [cell for cell in ordered(cells) if "masks" in cells[cell]]
    for cell in reversed(names):
        entry = cells[cell]["masks"][state][method][key]
        figure.add_scatter(
            x=[entry["value"]],
            y=[label(cell)],
            error_x=_interval(entry),
            mode="markers",
            marker=evidence_charts.dot(cell),
            customdata=[gap(entry, "difference")],
            hovertemplate="%{x:.1%}, against ce-zero: %{customdata}<extra>%{y}</extra>",
            showlegend=False,
        )
    for control, dash in CONTROLS.items() if names else ():
        found = cells[names[0]]["masks"][state][control]
        value = found["area" if control == "uniform" else key]["value"]
        figure.add_scatter(  # a line of the legend: annotations of near lines would overlap
            x=[value] * len(names),
            y=[label(cell) for cell in names],
            mode="lines",
            line={"dash": dash, "color": "#94a3b8"},
            name=f"{control} map",
        )
    figure.update_xaxes(range=[0, 1], tickformat=".0%")  # the same for both, to compare
    figure.update_yaxes(automargin=True)
    return evidence_charts.finish(figure, f"{state}: {score.lower()}", 170 + 34 * len(names))


def _interval(entry: Mapping[str, float]) -> dict[str, Any]:
    """Plotly's error bar of a figure with 'low' and 'high'."""
    above, below = entry["high"] - entry["value"], entry["value"] - entry["low"]
    return {"array": [above], "arrayminus": [below], "thickness": 1.5, "width": 4}
