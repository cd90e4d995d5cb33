"""Soft labels and loss curves -> Plotly figures."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from nls_core import figures
from nls_core.loss_curves import Choice, Curve, Curves


def target_bars(values: Curve, choice: Choice) -> go.Figure:
    """The soft label (K,) of one class: the share of every class."""
    colours = [figures.LOSS_COLOURS["nls"]] + [figures.TEXT] * (len(values) - 1)
    figure = go.Figure()
    figure.add_bar(
        x=["y", *(str(k) for k in range(2, len(values) + 1))],
        y=values,
        marker_color=colours,
        hovertemplate="class %{x}: %{y:.4f}<extra></extra>",
    )
    title = f"s/K = {choice.smoothing / choice.classes:.4g}, at y {values[0]:.4g}"
    figure.update_xaxes(title="class", type="category", nticks=11)
    figure.update_yaxes(title="q_k", range=[0, 1.04])
    return figures.style(figure, height=300, title={"text": title, "font": {"size": 13}})


def loss_chart(curves: Curves) -> go.Figure:
    """Every loss over p_y."""
    return _lines(curves.p, curves.values, "loss", range=[0, 5])


def slope_chart(curves: Curves) -> go.Figure:
    """Every loss's derivative by z_y over p_y."""
    return _lines(curves.p, curves.slopes, "∂loss/∂z_y")


def _lines(p: Curve, lines: dict[str, Curve], title: str, **axis: Any) -> go.Figure:
    figure = go.Figure()
    for name, values in lines.items():
        figure.add_scatter(
            x=p,
            y=values,
            name=name,
            mode="lines",
            line={"color": figures.LOSS_COLOURS[name], "width": 2.5},
            hovertemplate="p_y = %{x:.3f}: %{y:.4f}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="p_y", range=[0, 1])
    figure.update_yaxes(title=title, **axis)
    return figures.style(figure, height=340)
