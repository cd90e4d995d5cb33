"""Soft labels, loss curves and what partial padding does -> Plotly figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from nls_core.analysis.borders import Border, Scaling, mean_of
from nls_core.analysis.loss_curves import Choice, Curve, Curves
from nls_core.views import analysis_charts, palette, raster


def target_bars(values: Curve, choice: Choice) -> go.Figure:
    """The soft label (K,) of one class: the share of every class."""
    colours = [palette.loss_colour("nls")] + [palette.TEXT] * (len(values) - 1)
    figure = go.Figure()
    figure.add_bar(
        x=["y", *(str(k) for k in range(2, len(values) + 1))],
        y=values,
        marker_color=colours,
        marker_line_width=0,
        hovertemplate="class %{x}: %{y:.4f}<extra></extra>",
    )
    title = f"{values[0]:.4g} at y, s/K = {choice.smoothing / choice.classes:.4g} at the others"
    figure.update_xaxes(title="class", type="category", nticks=11, showgrid=False)
    figure.update_yaxes(title="q<sub>k</sub>", range=[0, 1.04])
    return analysis_charts.style(figure, height=340, title={"text": title, "font": {"size": 13}})


def loss_chart(curves: Curves) -> go.Figure:
    """Every loss over p_y; what lies above 4 is cut off."""
    return _lines(curves.p, curves.values, "loss", range=[0, 4])


def slope_chart(curves: Curves) -> go.Figure:
    """Every loss's derivative by z_y over p_y."""
    return _lines(curves.p, curves.slopes, "∂loss/∂z<sub>y</sub>")


def _lines(p: Curve, lines: dict[str, Curve], title: str, **axis: Any) -> go.Figure:
    figure = go.Figure()
    for name, values in lines.items():
        figure.add_scatter(
            x=p,
            y=values,
            name=name,
            mode="lines",
            # nls_ls, drawn later, may lie on nls
            line={"color": palette.loss_colour(name), "width": 5 if name == "nls" else 2.5},
            hovertemplate="p_y = %{x:.3f}: %{y:.4f}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="p<sub>y</sub>", range=[0, 1])
    figure.update_yaxes(title=title, **axis)
    return analysis_charts.style(figure, height=340)


def ratio_maps(ratios: Sequence[Scaling]) -> str:
    """The scale of each kind of convolution at each position, on one colour scale; as HTML."""
    top = max((float(ratio.values.max()) for ratio in ratios), default=1.0)
    maps = "".join(_ratio_map(ratio, top) for ratio in ratios)
    return (
        f'<div class="nls-ratios"><div class="nls-strip" tabindex="0">{maps}</div>'
        f'<div class="nls-scales"><div>scale: × 1 <i style="background:{raster.css_gradient()}">'
        f"</i> × {top:.3g}</div></div></div>"
    )


def _ratio_map(ratio: Scaling, top: float) -> str:
    first = ratio.layers[0].removeprefix("net.")
    more = len(ratio.layers) - 1
    name = escape(f"{first} and {more} more" if more else first)
    height, width = ratio.values.shape
    image = raster.png_data_uri(raster.colour_map(ratio.values - 1, top - 1))
    largest = f"up to × {ratio.values.max():.3g}"
    return (
        f'<figure><img src="{image}" alt="{name}: {largest}, at the edges" '
        f'title="{escape(", ".join(ratio.layers), quote=True)}"><figcaption><b>{name}</b><br>'
        f"{ratio.kind}; {height}×{width}, {largest}</figcaption></figure>"
    )


def border_bars(borders: Sequence[Border], loss: str) -> go.Figure:
    """The mean share of map mass on the border ring, with 95 % intervals, beside an even map's."""
    colour = palette.loss_colour(loss)
    figure = go.Figure()
    for border, pattern in zip(borders, ("", "/"), strict=True):
        mean = mean_of(border.shares)
        figure.add_bar(
            x=[border.model_id.split("/")[1]],
            y=[mean.value],
            error_y={"array": [mean.high - mean.value], "color": palette.MARK_COLOUR, "width": 8},
            marker={"color": colour, "pattern": {"shape": pattern, "fgcolor": "#f8fafc"}},
            hovertemplate="%{y:.1%}<extra>%{x}</extra>",
        )
    figure.add_hline(
        y=borders[0].ring,
        line_dash="dot",
        line_color=palette.TEXT,
        annotation={"text": "an even map", "font": {"color": palette.TEXT}},
        annotation_position="top left",
    )
    figure.update_yaxes(title="share of mass on the ring", tickformat=".0%", rangemode="tozero")
    return analysis_charts.style(figure, height=300, showlegend=False, bargap=0.5)
