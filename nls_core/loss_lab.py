"""The page *Loss lab*: the losses as functions, without any model."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nls_core import loss_curves, loss_figures
from nls_core.analyzer import Analyzer
from nls_core.loss_curves import Choice
from nls_core.widgets import PRIVATE, intro

INTRO = "What each loss asks of a model, and how hard it pulls."


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Loss lab", INTRO)
    start = Choice()
    with gr.Row():
        inputs = [
            gr.Slider(2, 100, value=start.classes, step=1, label="Classes K"),
            gr.Slider(0, 1, value=start.smoothing, step=0.01, label="Smoothing s"),
            gr.Slider(0, 5, value=start.gamma, step=0.1, label="Focal exponent γ"),
            gr.Slider(0, 0.2, value=start.weight, step=0.001, label="Weight λ of nls_ls"),
        ]
    with gr.Row():
        plots = [gr.Plot(show_label=False, min_width=300) for _ in range(3)]
    gr.on(
        None,
        show,
        inputs,
        plots,
        trigger_mode="always_last",
        show_progress="hidden",
        **PRIVATE,
    )


def show(classes: float, smoothing: float, gamma: float, weight: float) -> list[Any]:
    """The charts of a choice."""
    choice = Choice(int(classes), smoothing, gamma, weight)
    curves = loss_curves.curves(choice)
    return [
        loss_figures.target_bars(loss_curves.targets(choice), choice),
        loss_figures.loss_chart(curves),
        loss_figures.slope_chart(curves),
    ]
