"""Colours, overlays and charts."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nls_core.analysis.results import Analysis
from nls_core.errors import InvalidInput
from nls_core.metrics import calibration
from nls_core.types import Geometry
from nls_core.views import analysis_charts, palette, raster
from tests.helpers.pictures import random_picture


def test_the_activation_scale_brightens_from_zero_to_top() -> None:
    values = np.linspace(0, 2, 64, dtype=np.float32).reshape(1, 64)
    colours = raster.colour_map(values, 2.0).astype(float)
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance[0]) >= -1.0).all()
    assert luminance[0, -1] - luminance[0, 0] > 150


def test_values_above_top_take_the_last_colour_and_zero_top_the_first() -> None:
    values = np.array([[0.0, 1.0, 5.0]], np.float32)
    assert (raster.colour_map(values, 1.0)[0, 1] == raster.colour_map(values, 1.0)[0, 2]).all()
    assert (raster.colour_map(values, 0.0) == raster.colour_map(values * 0, 1.0)).all()


@pytest.mark.parametrize("shape", [(7, 7), (14, 10), (28, 28)])
def test_a_readable_map_is_its_values_to_a_255th_of_the_range(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    wide, text = raster.readable(values, low, high)
    cells = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, wide)
    assert cells.shape == shape
    assert np.abs(low + cells / 255 * (high - low) - values).max() <= (high - low) / 509
    assert len(text) < 1100


def test_a_readable_map_of_many_cells_has_means_and_one_of_zeros_is_zero() -> None:
    values = np.repeat(np.eye(28, dtype=np.float32), 4, axis=0).repeat(4, axis=1)  # (112, 112)
    wide, text = raster.readable(values, 0.0, 1.0)
    assert wide == 28
    cells = np.frombuffer(base64.b64decode(text), np.uint8).reshape(28, 28)
    assert (cells == 255 * np.eye(28)).all()
    assert base64.b64decode(raster.readable(values * 0, 0.0, 0.0)[1]) == bytes(28 * 28)


def test_the_difference_scale_is_neutral_at_zero_blue_below_and_red_above() -> None:
    low, zero, high = raster.difference_map(np.array([[-1.0, 0.0, 1.0]], np.float32), 1.0)[0]
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert int(zero.max()) - int(zero.min()) < 12


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 300), st.integers(8, 300), st.booleans())
def test_an_overlay_has_the_uploads_proportions(width: int, height: int, smooth: bool) -> None:
    side = float(max(width, height))
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    picture = np.zeros((height, width, 3), np.uint8)
    values = np.ones((7, 7), np.float32)
    laid = raster.overlay(
        picture, Geometry(width, height, box), values, top=1.0, smooth=smooth, size=128
    )
    assert max(laid.shape[:2]) == 128
    wanted = (128 * height / max(width, height), 128 * width / max(width, height))
    assert laid.shape[:2] == pytest.approx(wanted, abs=0.51)  # to the nearest pixel
    assert (laid > 0).any(axis=2).all()  # the box covers the whole picture


def test_an_overlay_colours_the_box_only_and_puts_the_hot_cell_where_it_belongs() -> None:
    picture = np.full((100, 200, 3), 200, np.uint8)
    values = np.zeros((2, 2), np.float32)
    values[0, 1] = 1.0  # upper right quarter of the box
    geometry = Geometry(200, 100, (50.0, 0.0, 150.0, 100.0))
    laid = raster.overlay(picture, geometry, values, top=1.0, smooth=False, size=200)
    assert (laid[:, :49] == 200).all()
    assert (laid[:, 151:] == 200).all()
    brightness = laid.astype(float).sum(2)
    assert brightness[25, 125] > brightness[75, 125] + 100
    assert brightness[25, 125] > brightness[25, 75] + 100


def test_an_amplified_perturbation_spans_the_range_around_grey() -> None:
    x = np.full((1, 4, 4), 0.5, np.float32)
    moved = x.copy()
    moved[0, 0, 0] += 2 / 255
    pixels, gain = raster.perturbation(x, moved)
    assert gain == pytest.approx(255 / 4, rel=1e-3)
    assert pixels[0, 0, 0] == 255
    assert pixels[1, 1, 0] in (127, 128)
    assert raster.perturbation(x, x)[1] == 1.0


def test_the_sweep_figure_holds_the_analysis(analysis: Analysis) -> None:
    chart = analysis_charts.confidence_sweep(analysis, 0)
    assert len(chart.data) == len(analysis.models)
    for trace, model in zip(chart.data, analysis.models, strict=True):
        wanted = [model.prediction.confidence, *(p.prediction.confidence for p in model.sweep)]
        assert list(trace.y) == pytest.approx(wanted)
        lost = [p.prediction.index != model.prediction.index for p in model.sweep]
        assert list(trace.marker.symbol)[1:] == ["x" if gone else "circle" for gone in lost]


def test_empty_bins_draw_no_bar_and_the_pictures_bin_is_marked(analysis: Analysis) -> None:
    probs = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6]])
    data = calibration.reliability(probs, np.array([0, 1, 1])).to_dict()
    manifest = analysis.models[0].manifest
    chart = analysis_charts.reliability_diagram(data, manifest, confidence=0.6)
    bars = next(trace for trace in chart.data if trace.type == "bar")
    counts = [c for c in data["counts"] if c]
    assert len(bars.x) == len(counts) == 3
    marked = [c == palette.MARK_COLOUR for c in bars.marker.color]
    assert marked.count(True) == 1
    assert bars.x[marked.index(True)] == pytest.approx(0.6, abs=1 / 15)


def test_the_joint_top_covers_every_shown_map(analysis: Analysis) -> None:
    top = raster.joint_top(analysis.models, 1)
    shown = [m.cam.values for m in analysis.models] + [
        m.sweep[1].cam.values for m in analysis.models
    ]
    assert top == max(float(v.max()) for v in shown)


def test_the_colour_scales_are_plotlys() -> None:
    import plotly.colors

    at = np.linspace(0, 1, 256)
    apart = (2 * at[None] - 1).astype(np.float32)
    for scale, made in (
        (plotly.colors.sequential.Inferno, raster.colour_map(at[None].astype(np.float32), 1.0)),
        (
            plotly.colors.diverging.RdBu_r,
            raster.difference_map(apart, 1.0),
        ),
    ):
        colours = plotly.colors.sample_colorscale(scale, at.tolist())
        wanted = [plotly.colors.unlabel_rgb(colour) for colour in colours]
        np.testing.assert_array_equal(made[0], np.round(wanted))


def test_png_round_trip() -> None:
    colour = np.asarray(random_picture())
    for array, expected in (
        (colour, colour),
        (colour[..., 0], colour[..., 0]),
        (colour.transpose(2, 0, 1) / 255, colour),
        ((colour / 255).astype(np.float32).transpose(2, 0, 1)[:1], colour[..., 0]),
    ):
        data = raster.png_bytes(array)
        read = np.asarray(Image.open(io.BytesIO(data), formats=["PNG"]))
        np.testing.assert_array_equal(read, expected)
        kind, text = raster.png_data_uri(array).split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(text, validate=True) == data


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((2, 4, 4), np.float32),
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.int64),
        np.full((1, 4, 4), 1.01),
        np.full((1, 4, 4), -0.01),
        np.full((3, 4, 4), np.nan),
        np.zeros((3, 0, 4)),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_png_refuses(array: NDArray[Any]) -> None:
    with pytest.raises(InvalidInput, match=r"expected \(H, W\).*got \("):
        raster.png_bytes(array)
