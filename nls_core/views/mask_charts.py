"""Mask scores of activation maps -> Plotly figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from nls_core.evidence.cells import BASE, Cells, gap, label, ordered
from nls_core.views.cell_style import dot, finish

SCORES = {
    "Energy inside": "energy_inside",
    "Pointing game": "pointing_game",
    "Best IoU": "best_iou",
}
STATES = ("clean", "attacked")
CONTROLS = {"centre": "dash", "random": "dot", "uniform": "solid"}


def methods(cells: Cells) -> list[str]:
    """The activation maps that were scored, in the report's order."""
    scored = [
        cell["masks"][state] for cell in cells.values() if "masks" in cell for state in STATES
    ]
    return [
        name for name in dict.fromkeys(m for each in scored for m in each) if name not in CONTROLS
    ]


def chart(cells: Cells, state: str, method: str, score: str) -> go.Figure:
    """A mask score of every cell as a dot with its interval, beside the controls.

    Args:
        cells: of the report of a family with masks.
        state: of `STATES`.
        method: one of `methods`.
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
            marker=dot(cell),
            customdata=[gap(entry, "difference")],
            hovertemplate=f"%{{x:.1%}}, against {BASE}: %{{customdata}}<extra>%{{y}}</extra>",
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
    return finish(figure, f"{state}: {score.lower()}", 170 + 34 * len(names))


def _interval(entry: Mapping[str, float]) -> dict[str, Any]:
    """Plotly's error bar of a figure with 'low' and 'high'."""
    above, below = entry["high"] - entry["value"], entry["value"] - entry["low"]
    return {"array": [above], "arrayminus": [below], "thickness": 1.5, "width": 4}
