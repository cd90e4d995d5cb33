"""The look of cells on the charts of reports: colour, dash, dot, line, legend.

Colours are the losses', solid lines are zero padding, dashed ones partial. Bands and bars are one
standard deviation over seeds, where there are several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nls_core.evidence import cells
from nls_core.evidence.cells import label
from nls_core.views import analysis_charts
from nls_core.views.palette import dash_of, loss_colour

# at the foot of the whole picture: the plot leaves it room, however many rows it takes; small
# enough for two columns on a phone
LEGEND = {
    "orientation": "h",
    "xref": "container",
    "x": 0,
    "yref": "container",
    "y": 0,
    "yanchor": "bottom",
    "tracegroupgap": 0,
    "font": {"size": 10},
}
MARGIN = {"l": 60, "r": 16, "t": 44, "b": 50}
SHARES = {"tickformat": ".0%"}
TEMPERED = "#94a3b8"  # a paler ce


def colour(cell: str) -> str:
    """The colour of a cell's loss."""
    loss = cell.rpartition("-")[0]
    return TEMPERED if loss == cells.TEMPERED else loss_colour(loss)


def dash(cell: str) -> str:
    """Solid for zero padding, dashed for partial."""
    return dash_of(cell.rpartition("-")[2])


def dot(cell: str) -> dict[str, Any]:
    """A cell's marker: full for zero padding, open for partial."""
    symbol = "circle" if cell.endswith("zero") else "circle-open"
    line = {"width": 2, "color": colour(cell)}
    return {"color": colour(cell), "size": 12, "symbol": symbol, "line": line}


def finish(figure: go.Figure, title: str, height: int = 380, **layout: Any) -> go.Figure:
    """Give a figure its title, and the style of all others."""
    analysis_charts.style(figure, height=height, title={"text": title, "font": {"size": 14}})
    figure.update_layout(legend=LEGEND, margin=MARGIN, **layout)
    return figure


def line(
    figure: go.Figure, cell: str, x: Sequence[float], entries: Sequence[Mapping[str, Any]]
) -> None:
    """A cell's means with a band of one standard deviation."""
    means = [entry["mean"] for entry in entries]
    spread = [entry["sd"] or 0.0 for entry in entries]
    if any(spread):
        ends = [m + s for m, s in zip(means, spread, strict=True)]
        ends += [m - s for m, s in zip(means, spread, strict=True)][::-1]
        figure.add_scatter(
            x=[*x, *x[::-1]],
            y=ends,
            fill="toself",
            fillcolor=colour(cell),
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            legendgroup=cell,
            showlegend=False,
        )
    figure.add_scatter(
        x=list(x),
        y=means,
        name=label(cell),
        legendgroup=cell,
        mode="lines+markers" if len(means) < 12 else "lines",
        line={"color": colour(cell), "dash": dash(cell), "width": 2.5},
        hovertemplate="%{x:g}: %{y:.4f}<extra>%{fullData.name}</extra>",
    )
