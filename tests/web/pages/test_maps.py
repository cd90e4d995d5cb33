"""The page Maps: scores with intervals beside their controls."""

from __future__ import annotations

import asyncio
from pathlib import Path

import gradio as gr
import pytest

from nls_core.analysis.analyzer import Analyzer
from nls_core.settings import Settings
from nls_core.views import mask_charts
from nls_core.web.pages import maps


def figure(value: float, **more: object) -> dict[str, object]:
    return {"value": value, "low": value - 0.02, "high": value + 0.03} | more


def cell(value: float, **more: object) -> dict[str, object]:
    scores = {"pointing_game": figure(value), "best_iou": figure(value)}
    methods = {"gradcam": scores | {"energy_inside": figure(value, **more)}}
    controls = {"centre": {"energy_inside": figure(0.3)}, "random": {"energy_inside": figure(0.2)}}
    state = methods | controls | {"uniform": {"area": figure(0.21)}}
    return {"masks": {"clean": state, "attacked": state}}


def test_every_cell_has_its_figure_interval_and_difference() -> None:
    gap = {"difference": {"difference": -0.1, "low": -0.2, "high": 0.0}}
    cells = {"ce-zero": cell(0.5), "nls-partial": cell(0.4, **gap), "ce_temperature-zero": {}}
    made = mask_charts.chart(cells, "clean", "gradcam", "Energy inside")
    dots = {trace.y[0]: trace for trace in made.data if trace.mode == "markers"}
    assert {name: trace.x[0] for name, trace in dots.items()} == {
        "ce, zero": 0.5,
        "nls, partial": 0.4,
    }
    bar = dots["ce, zero"].error_x
    assert bar.array[0] == pytest.approx(0.03)
    assert bar.arrayminus[0] == pytest.approx(0.02)
    assert dots["ce, zero"].customdata[0] == "-"
    assert dots["nls, partial"].customdata[0] == "-10.00 [-20.00, +0.00]"
    lines = {trace.name: trace.x[0] for trace in made.data if trace.mode == "lines"}
    assert lines == {"centre map": 0.3, "random map": 0.2, "uniform map": 0.21}


def test_without_scored_maps_the_page_names_the_command(
    analyzer: Analyzer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyzer, "settings", Settings(models_dir=tmp_path))

    async def made() -> gr.Blocks:  # outside a running loop Gradio opens loops and leaves them open
        with gr.Blocks(analytics_enabled=False) as blocks:
            maps.build(analyzer)
        return blocks

    blocks = asyncio.run(made())
    texts = [str(block.value) for block in blocks.blocks.values() if hasattr(block, "value")]
    assert any("nls train --grid photos" in text for text in texts)
