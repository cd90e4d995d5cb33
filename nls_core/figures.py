"""`Analysis` and reliability data -> colours, overlays and Plotly figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from nls_core import calibration
from nls_core.types import Analysis, FloatArray, Geometry, InvalidInput, Manifest, ModelAnalysis

Pixels = NDArray[np.uint8]

# One colour per loss everywhere; solid lines for zero padding, dashed for partial.
LOSS_COLOURS = {
    "ce": "#64748b",
    "ls": "#d97706",
    "nls": "#0d9488",
    "nls_ls": "#7c3aed",
    "focal": "#2563eb",
    "cosine": "#be185d",
}
OTHER_COLOUR = "#7c3aed"
MARK_COLOUR = "#dc2626"  # this picture; the colour of no loss
DASHES = {"zero": "solid", "partial": "dash"}
SEQUENTIAL = plotly.colors.sequential.Inferno
DIVERGING = plotly.colors.diverging.RdBu_r
TEXT, GRID = "#64748b", "rgba(100,116,139,0.25)"  # readable on light and on dark pages


def colour_of(manifest: Manifest) -> str:
    """The colour of a model's loss."""
    return LOSS_COLOURS.get(manifest.loss, OTHER_COLOUR)


def png_bytes(array: NDArray[Any]) -> bytes:
    """A PNG file of (H, W) or (H, W, 3) uint8, or of (C, H, W) floats in [0, 1], C of 1 or 3.

    Raises:
        InvalidInput: another type, shape or range.
    """
    pixels = np.asarray(array)
    shape, dtype = pixels.shape, pixels.dtype
    if dtype.kind == "f" and len(shape) == 3 and np.all((pixels >= 0) & (pixels <= 1)):
        pixels = (pixels * 255).round().astype(np.uint8).transpose(1, 2, 0)  # CHW -> HWC
        pixels = pixels[..., 0] if shape[0] == 1 else pixels
    if (
        pixels.dtype != np.uint8
        or not pixels.size
        or pixels.ndim < 2
        or pixels.shape[2:] not in ((), (3,))
    ):
        raise InvalidInput(
            "expected (H, W) or (H, W, 3) uint8, or (1 or 3, H, W) floats in [0, 1], "
            f"got {shape} {dtype}"
        )
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()


def png_data_uri(array: NDArray[Any]) -> str:
    """`png_bytes` as a data URI for HTML and JSON."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(array)).decode("ascii")


@lru_cache(maxsize=4)
def _table(diverging: bool) -> Pixels:
    """(256, 3) colours of the activation scale, or of the difference scale."""
    scale = DIVERGING if diverging else SEQUENTIAL
    colours = plotly.colors.sample_colorscale(scale, np.linspace(0, 1, 256).tolist())
    return np.array([plotly.colors.unlabel_rgb(c) for c in colours]).round().astype(np.uint8)


def colour_map(values: FloatArray, top: float) -> Pixels:
    """Colour an activation map: (h, w) ≥ 0 -> (h, w, 3), from 0 to `top` on Inferno."""
    share = np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values)
    return np.take(_table(False), (share * 255).round().astype(int), axis=0)


def difference_map(values: FloatArray, top: float) -> Pixels:
    """Colour a difference: (h, w) -> (h, w, 3), -top blue, 0 white, +top red."""
    share = np.clip(values / top, -1, 1) if top > 0 else np.zeros_like(values)
    return np.take(_table(True), ((share + 1) * 127.5).round().astype(int), axis=0)


def css_gradient(diverging: bool = False) -> str:
    """The colour scale as a CSS gradient, for colourbars."""
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in _table(diverging)[::15])
    return f"linear-gradient(to right, {stops})"


def resize(values: FloatArray, width: int, height: int, *, smooth: bool) -> FloatArray:
    """Resample a map (h, w) to (height, width): bilinear, or as cells."""
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), how))


def overlay(
    picture: Pixels,
    geometry: Geometry,
    values: FloatArray,
    *,
    top: float,
    smooth: bool = True,
    size: int = 256,
) -> Pixels:
    """Lay a map over the uploaded picture, where the model's input lies in it.

    Args:
        picture: (h, w, 3), the upload at any scale.
        geometry: of the upload; its `box` is where `values` goes.
        values: (h', w') activation map, ≥ 0.
        top: the value of the brightest colour, ≥ 0.
        smooth: bilinear between the map's cells, or the cells as they are.
        size: longest edge of the result in pixels.

    Returns:
        (H, W, 3) with the upload's proportions.
    """
    scale = size / max(geometry.width, geometry.height)
    width, height = (max(round(n * scale), 1) for n in (geometry.width, geometry.height))
    how = Image.Resampling.LANCZOS if picture.shape[0] > height else Image.Resampling.NEAREST
    base = np.asarray(Image.fromarray(picture).convert("L").resize((width, height), how))
    canvas = np.repeat(base[..., None], 3, axis=2).astype(np.float32)
    left, top_edge, right, bottom = (round(edge * scale) for edge in geometry.box)
    across, down = max(right - left, 1), max(bottom - top_edge, 1)
    colours = colour_map(resize(values, across, down, smooth=smooth), top)
    x0, y0, x1, y1 = max(left, 0), max(top_edge, 0), min(right, width), min(bottom, height)
    if x0 < x1 and y0 < y1:
        patch = colours[y0 - top_edge : y1 - top_edge, x0 - left : x1 - left]
        canvas[y0:y1, x0:x1] = 0.45 * canvas[y0:y1, x0:x1] + 0.55 * patch
    return canvas.round().astype(np.uint8)


def whole(x: FloatArray) -> tuple[Pixels, Geometry]:
    """A model input (C, H, W) in [0, 1] as a picture that the model sees whole."""
    pixels = (np.clip(x, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)  # HWC
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    height, width = pixels.shape[:2]
    return pixels, Geometry(width, height, (0.0, 0.0, float(width), float(height)))


def perturbation(x: FloatArray, adversarial: FloatArray) -> tuple[Pixels, float]:
    """The change of an image (C, H, W), amplified to the full range around grey, and the gain."""
    delta = adversarial - x
    largest = float(np.abs(delta).max())
    gain = 0.5 / largest if largest > 0 else 1.0
    return whole(delta * gain + 0.5)[0], gain


def style(figure: go.Figure, *, height: int, **layout: Any) -> go.Figure:
    """Give a figure the look of all: no background, so that it suits light and dark pages."""
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
    return figure


def confidence_sweep(analysis: Analysis, shown: int | None = None) -> go.Figure:
    """Confidence over ε, a line per model; a cross where the label is no longer the clean one.

    `shown` is the index of the ε whose images are on the page; it gets a vertical line.
    """
    figure = go.Figure()
    for model in analysis.models:
        colour = colour_of(model.manifest)
        points = [(0.0, model.prediction), *((p.epsilon * 255, p.prediction) for p in model.sweep)]
        kept = [p.index == model.prediction.index for _, p in points]
        labels = [model.manifest.classes[p.index] for _, p in points]
        figure.add_scatter(
            x=[e for e, _ in points],
            y=[p.confidence for _, p in points],
            customdata=labels,
            name=model.manifest.id.split("/")[1],
            mode="lines+markers",
            line={"color": colour, "dash": DASHES[model.manifest.padding], "width": 2.5},
            marker={"symbol": ["circle" if k else "x" for k in kept], "size": 9},
            hovertemplate="ε = %{x:.3g}/255: %{customdata}, %{y:.1%}"
            "<extra>%{fullData.name}</extra>",
        )
    if shown is not None and analysis.request.epsilons:
        figure.add_vline(x=analysis.request.epsilons[shown] * 255, line_dash="dot", opacity=0.6)
    figure.update_xaxes(title="ε in 1/255", rangemode="tozero")
    figure.update_yaxes(title="confidence", range=[0, 1.04], tickformat=".0%")
    return style(figure, height=330)


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
    title = {"text": f"{name}: {len(bins.counts)} equal-width bins", "font": {"size": 13}}
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


def joint_top(models: Sequence[ModelAnalysis], index: int | None) -> float:
    """The largest value of all shown maps: clean ones, and attacked ones at one ε."""
    maps = [model.cam for model in models]
    if index is not None:
        maps += [model.sweep[index].cam for model in models]
    return max(float(cam.values.max()) for cam in maps)
