"""`Analysis` and reliability data -> Plotly figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nls_core.analysis.results import Analysis, ModelAnalysis
from nls_core.attacks import ATTACKS
from nls_core.metrics import calibration
from nls_core.types import FloatArray, Manifest
from nls_core.views import chart_text, names
from nls_core.views.palette import GRID, MARK_COLOUR, TEXT, colour_of, dash_of
from nls_core.views.sentences import epsilon_axis, epsilon_text, role


def style(figure: go.Figure, *, height: int, **layout: Any) -> go.Figure:
    """Give a complete figure the look of all, and its text.

    There is no background, so that it suits light and dark pages.
    """
    figure.update_layout(
        height=height,
        margin={"l": 56, "r": 14, "t": 36, "b": 46},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT, "size": 12, "family": "system-ui, sans-serif"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **layout,
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.layout.meta = chart_text.meta(figure)
    return figure


def confidence_sweep(analysis: Analysis, shown: int | None = None) -> go.Figure:
    """Confidence over ε, a line per model; a cross where the label is no longer the clean one.

    `shown` is the index of the ε whose images are on the page; it gets a vertical line.
    """
    figure = go.Figure()
    attack = analysis.request.attack
    scale, title = epsilon_axis(attack)
    for model in analysis.models:
        colour = colour_of(model.manifest)
        points = [(0.0, model.prediction), *((p.epsilon, p.prediction) for p in model.sweep)]
        kept = [p.index == model.prediction.index for _, p in points]
        labels = [(model.manifest.classes[p.index], epsilon_text(e, attack)) for e, p in points]
        figure.add_scatter(
            x=[e * scale for e, _ in points],
            y=[p.confidence for _, p in points],
            customdata=labels,
            name=names.of_manifest(model.manifest),
            mode="lines+markers",
            line={"color": colour, "dash": dash_of(model.manifest.padding), "width": 2.5},
            marker={"symbol": ["circle" if k else "x" for k in kept], "size": 9},
            hovertemplate="ε = %{customdata[1]}: %{customdata[0]}, %{y:.1%}"
            "<extra>%{fullData.name}</extra>",
        )
    if shown is not None and analysis.request.epsilons:
        figure.add_vline(x=analysis.request.epsilons[shown] * scale, line_dash="dot", opacity=0.6)
    figure.update_xaxes(title=title, rangemode="tozero")
    figure.update_yaxes(title="confidence", range=[0, 1.04], tickformat=".0%")
    return style(figure, height=330)


def attack_steps(analysis: Analysis, shown: int | None, *, pending: bool = False) -> go.Figure:
    """Probabilities along the attack at one strength: of the clean label and of where it ends.

    A cross marks a step after which the clean label is lost. Where there is nothing to draw, the
    figure says why.

    Args:
        analysis: its attack may be one that tells no steps.
        shown: the index of the ε; None is ε = 0.
        pending: the attack is yet to be computed.
    """
    figure, attack = go.Figure(), analysis.request.attack
    for index, model in enumerate(analysis.models):
        point = analysis.point(model, shown)
        if point.steps is not None:
            _add_steps(figure, role(index), model, point.steps, analysis.course(model, point))
    if not figure.data:
        told = _no_steps(analysis, shown, pending)
        figure.add_annotation(text=told, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    at = epsilon_text(0.0 if shown is None else analysis.request.epsilons[shown], attack)
    figure.update_xaxes(title=f"steps of {attack} at ε = {at}", rangemode="tozero")
    figure.update_yaxes(title="probability", range=[0, 1.04], tickformat=".0%")
    return style(figure, height=330)


def _add_steps(
    figure: go.Figure,
    name: str,
    model: ModelAnalysis,
    steps: FloatArray,
    course: tuple[int, int],
) -> None:
    """Add the lines of a model: the class it is led away from, and where another, that one."""
    left, reached = course
    kept = steps.argmax(1) == left
    marks = {"symbol": ["circle" if k else "x" for k in kept], "size": 8}
    looks: dict[int, dict[str, Any]] = {reached: {"dash": "dot", "width": 1.5}}
    looks[left] = {"dash": dash_of(model.manifest.padding), "width": 2.5}
    for label, look in sorted(looks.items(), key=lambda each: each[0] != left):
        figure.add_scatter(
            x=list(range(len(steps))),
            y=steps[:, label],
            name=f"{name}: {model.manifest.classes[label]}",
            mode="lines+markers" if label == left else "lines",
            line={"color": colour_of(model.manifest)} | look,
            marker=marks if label == left else None,
            hovertemplate="after %{x} steps: %{y:.1%}<extra>%{fullData.name}</extra>",
        )


def _no_steps(analysis: Analysis, shown: int | None, pending: bool) -> str:
    """Why there are no steps to draw."""
    attack, telling = analysis.request.attack, [name for name, a in ATTACKS.items() if a.traced]
    if not ATTACKS[attack].traced:
        return f"{attack} has no steps to show; {' and '.join(telling)} have."
    if pending:
        return "The attack is being computed …"
    return "Move ε above 0." if shown is None else "The steps were not kept."


def reliability_diagram(
    data: Mapping[str, Any],
    manifest: Manifest,
    *,
    confidence: float | None = None,
) -> go.Figure:
    """The reliability diagram of a shipped model; see `reliability_bars`.

    Args:
        data: `calibration.Reliability.to_dict()` of a test split.
        manifest: of the model; gives the colour.
        confidence: of the image on the page; its bin is marked.
    """
    bins = calibration.Reliability.from_dict(data)
    return reliability_bars(bins, manifest.id, colour_of(manifest), confidence=confidence)


def reliability_bars(
    bins: calibration.Reliability, name: str, colour: str, *, confidence: float | None = None
) -> go.Figure:
    """Accuracy per confidence bin over a confidence histogram; empty bins draw no bar.

    Args:
        bins: of a test split.
        name: of the model, for the title.
        colour: of the bars.
        confidence: its bin is marked.
    """
    centres = (bins.edges[:-1] + bins.edges[1:]) / 2
    width = float(bins.edges[1] - bins.edges[0])
    full = bins.counts > 0
    mine = calibration.bin_of(confidence, len(bins.counts)) if confidence is not None else -1
    colours = [MARK_COLOUR if i == mine else colour for i in range(len(centres))]
    shown = [colour for colour, there in zip(colours, full, strict=True) if there]
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": TEXT, "dash": "dot"}, hoverinfo="skip"
    )
    _accuracy_bars(figure, bins, x=centres[full], width=width * 0.92, marker_color=shown)
    figure.add_bar(
        x=centres[full],
        y=(bins.counts / bins.counts.sum())[full],
        width=width * 0.92,
        marker_color=shown,
        yaxis="y2",
        hovertemplate="%{y:.1%} of the test images<extra></extra>",
    )
    figure.update_layout(
        yaxis={"domain": [0.36, 1], "range": [0, 1.02], "title": "accuracy", "tickformat": ".0%"},
        yaxis2={"domain": [0, 0.24], "title": "images", "tickformat": ".0%", "anchor": "x"},
        xaxis={"range": [0, 1], "title": "confidence", "tickformat": ".0%", "anchor": "y2"},
    )
    title = {"text": f"{name}: {len(bins.counts)} bins", "font": {"size": 13}}
    return style(figure, height=380, showlegend=False, title=title)


def _accuracy_bars(figure: go.Figure, bins: calibration.Reliability, **bar: Any) -> None:
    """Add the bars of the bins that are not empty, with their Wilson intervals."""
    full = bins.counts > 0
    figure.add_bar(
        y=bins.accuracy[full],
        error_y={
            "array": (bins.high - bins.accuracy)[full],
            "arrayminus": (bins.accuracy - bins.low)[full],
            "color": TEXT,
            "thickness": 1,
            "width": 2,
        },
        customdata=np.stack([bins.confidence[full], bins.counts[full]], axis=1),
        hovertemplate="right %{y:.1%}, mean confidence %{customdata[0]:.1%}, "
        "%{customdata[1]:,} images<extra></extra>",
        **bar,
    )
