"""The page *Loss lab*: the losses as functions, and partial padding in numbers."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nls_core.analysis import loss_curves
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.borders import Border, PaddingMaps, mean_of
from nls_core.analysis.loss_curves import Choice
from nls_core.cams import quick
from nls_core.errors import NLSLabError
from nls_core.views import loss_charts
from nls_core.views.sentences import percent
from nls_core.web.pages.contents import ARRIVE, Contents
from nls_core.web.pages.widgets import LANE, PRIVATE, PROGRESS, intro, message, note

INTRO = """What each loss asks of a model and how hard it pulls; below, what partial padding does
to a layer's edges."""
SCALES = ("as they are", "each by its own steepest slope")
FORMULAS = """With logits z, probabilities p = softmax(z), the true class y and the soft label
q<sub>k</sub> = s/K, plus 1 - s at y:
<br><b>ce</b> = -(1 - p<sub>y</sub>)<sup>γ</sup> log p<sub>y</sub>; <b>focal</b> is the same with
its own γ = 3 while γ above is 0 (arXiv 1708.02002, 2002.09437)
<br><b>ls</b> = Σ<sub>k</sub> (1 - p<sub>k</sub>)<sup>γ</sup> q<sub>k</sub> (-log p<sub>k</sub>)
(arXiv 1512.00567)
<br><b>nls</b> = ls / Σ<sub>k</sub> (-log p<sub>k</sub>) (arXiv 2012.06876)
<br><b>nls_ls</b> = nls + λ · ls, this project's own; <b>nls_ce</b> = nls + λ · ce
<br><b>ce_margin</b> (arXiv 2111.15430) and <b>nls_margin</b> are ce and nls
+ λ · Σ<sub>k</sub> max(0, z<sub>max</sub> - z<sub>k</sub> - 10)
<br><b>nce_rce</b> = nls at s = 0, + λ · 4 (1 - p<sub>y</sub>) (arXiv 2006.13554)
<br>The charts share 1 - p<sub>y</sub> equally among the other classes. <b>nls</b> pulls
less than <b>ce</b>, the less the more classes there are, so it needs a larger learning rate; the
second scale takes that out and leaves the shape. Where a slope crosses 0 the loss wants no more
confidence: <b>ls</b> stops at p<sub>y</sub> = q<sub>y</sub> (γ = 0), <b>nls</b> never does."""
PADDING = """<b>Partial padding</b> (Liu et al. 2018, arXiv 1811.11718). At an edge part of a
convolution's window hangs over the image, where zero padding adds nothing. Partial padding scales
the result by (window area) / (entries inside): the maps show that factor, 1 inside and for a 3x3
window up to 1.5 at edges and 2.25 at corners. A convolution with stride 2 and an even size meets
padding on two sides only."""
PARTS = {
    "curves": "Losses and their slopes",
    "formulas": "What nls is",
}
PADDING_PARTS = {
    "padding": "Partial padding",
    "edges": "Does it change where a model looks?",
}
BORDER = """The share of each activation map's mass that lies
on its outer ring of cells, for the true class, on the test images that ship with the family. The
interval is over images only: each model is one training run with one seed."""


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Loss lab", INTRO)
    work = PaddingMaps(analyzer)
    parts = Contents("/ui/loss-lab", PARTS | (PADDING_PARTS if work.pairs() else {}))
    parts.show()
    _losses(parts)
    if work.pairs():
        _Padding(work, parts)


def _losses(parts: Contents) -> None:
    start = Choice()
    parts.heading("curves")
    with gr.Row():
        inputs: list[gr.Slider | gr.Radio] = [
            gr.Slider(2, 100, value=start.classes, step=1, label="Classes K"),
            gr.Slider(0, 1, value=start.smoothing, step=0.01, label="Smoothing s"),
            gr.Slider(0, 5, value=start.gamma, step=0.1, label="Focal γ"),
            gr.Slider(0, 0.2, value=start.weight, step=0.001, label="λ of sums"),
        ]
    inputs.append(gr.Radio(list(SCALES), value=SCALES[0], label="Loss and slope"))
    with gr.Row():
        plots = [gr.Plot(show_label=False, min_width=300) for _ in range(3)]
    parts.heading("formulas")
    words = gr.HTML("", elem_id="identity")
    note(FORMULAS)
    gr.on(
        None,
        show,
        inputs,
        [*plots, words],
        trigger_mode="always_last",
        show_progress="hidden",
        **PRIVATE,
    ).then(None, js=ARRIVE, **PRIVATE)


def show(classes: float, smoothing: float, gamma: float, weight: float, scale: str) -> list[Any]:
    """The three charts of a choice, and what became of the identity."""
    choice = Choice(int(classes), smoothing, gamma, weight)
    curves = loss_curves.curves(choice)
    if scale == SCALES[1]:
        curves = loss_curves.alike(curves)
    return [
        loss_charts.target_bars(loss_curves.targets(choice), choice),
        loss_charts.loss_chart(curves),
        loss_charts.slope_chart(curves),
        identity(choice),
    ]


def identity(choice: Choice) -> str:
    """Whether `nls` is a rescaled normalized cross-entropy, checked now, as HTML."""
    value, gradient = loss_curves.identity_gap(choice)
    claim = (
        "<b>nls = (1 - s) · NCE + s/K</b>, where NCE = -log p<sub>y</sub> / "
        "Σ<sub>k</sub> (-log p<sub>k</sub>) is the normalized cross-entropy of Ma et al. 2020 "
        "(arXiv 2006.13554): "
    )
    where = f"on {loss_curves.DRAWS:,} seeded random rows of logits, computed just now, they differ"
    found = f"by at most <b>{value:.1e}</b> in value and <b>{gradient:.1e}</b> in gradient"
    if choice.gamma == 0:
        end = (
            "that is rounding. So s only rescales the step; the normalization does the work."
            if choice.smoothing < 1
            else "with s = 1 both are the constant 1/K, from which nothing can be learned."
        )
        return f'<p class="nls-explain">{claim}{where} {found}: {end}</p>'
    return (
        f'<p class="nls-explain">{claim}with γ = {choice.gamma:g} this does <b>not</b> hold; '
        f"{where} {found}.</p>"
    )


class _Padding:
    """The lower half: partial padding in a model of the zoo."""

    def __init__(self, work: PaddingMaps, parts: Contents) -> None:
        self.work = work
        pairs, methods = work.pairs(), list(quick())
        parts.heading("padding")
        note(PADDING)
        pair = gr.Dropdown(pairs, value=pairs[0], label="Loss", elem_id="pair")
        ratios = gr.HTML("", elem_id="ratios", min_height=200)
        parts.heading("edges")
        note(BORDER)
        with gr.Row():
            method = gr.Dropdown(methods, value=methods[0], label="Activation map")
            layer = gr.Dropdown([], label="Layer")
        button = gr.Button("Measure with zero and with partial padding", elem_id="measure")
        words = gr.HTML("", elem_id="border")
        chart = gr.Plot(show_label=False, min_width=300, visible=False)
        gr.on(
            None,
            self.show,
            pair,
            [ratios, layer],
            trigger_mode="always_last",
            **LANE,
            **PRIVATE,
        )
        button.click(self.measure, [pair, method, layer], [words, chart], **LANE, **PRIVATE)

    def show(self, pair: str) -> list[Any]:
        """The scales in a model, and its layers."""
        try:
            layers, ratios = self.work.layers(pair), self.work.ratios(pair)
        except NLSLabError as error:
            return [message(str(error), wrong=True), gr.skip()]
        return [
            loss_charts.ratio_maps(ratios),
            gr.update(choices=list(layers), value=layers[-1]),
        ]

    def measure(
        self, pair: str, method: str, layer: str, progress: gr.Progress = PROGRESS
    ) -> list[Any]:
        """The border's share with both paddings, in words and as bars."""
        try:
            borders = self.work.borders(
                pair, method, layer, lambda done, what: progress(done, desc=what)
            )
        except NLSLabError as error:
            return [message(str(error), wrong=True), gr.skip()]
        figure = loss_charts.border_bars(borders, pair.split("/")[1])
        return [border_words(borders), gr.Plot(figure, visible=True)]


def border_words(borders: tuple[Border, Border]) -> str:
    """What was measured, as HTML."""
    zero, partial = borders
    each = "; ".join(
        f"{b.model_id} <b>{percent(m.value)}</b> ({percent(m.low)} to {percent(m.high)})"
        for b, m in ((border, mean_of(border.shares)) for border in borders)
    )
    change = mean_of(partial.shares - zero.shares)
    verdict = "more" if change.low > 0 else "less" if change.high < 0 else "as much"
    return (
        f'<p class="nls-explain">On the outer ring lie, of {change.count:,} test images on average '
        f"(95 % interval): {each}; an even map has {percent(zero.ring)} there. Image by image, "
        f"partial padding puts <b>{verdict}</b> there: {100 * change.value:+.1f} points "
        f"({100 * change.low:+.1f} to {100 * change.high:+.1f}).</p>"
    )
