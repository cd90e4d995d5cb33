"""`Analysis` -> HTML: the sentence, the rows of images, the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np

from nls_core.analysis.results import Analysis, CamMap, ModelAnalysis, Prediction, SweepPoint
from nls_core.types import FloatArray
from nls_core.views import html, palette, raster
from nls_core.views.sentences import (
    capital,
    deserved,
    epsilon_text,
    facts,
    hint,
    no_better,
    percent,
    role,
    sentence,
    use,
)

Scale = Literal["joint", "per-map", "raw"]
SCALES: dict[str, str] = {
    "joint": "one colour scale for all maps",
    "per-map": "each map on its own scale",
    "raw": "the layer's cells as they are, one scale",
}
BLANK = np.full((1, 1), 128, np.uint8)  # where a picture will be
PENDING = ("attacked", "perturbation", "map under attack", "map change")
CELLS = 100  # pixels; smaller inputs are shown with their pixels' edges


@dataclass(frozen=True)
class View:
    """What of an analysis is shown: the index of the ε (None is 0), the scale, the true class.

    `see` is a sentence on what to look at; `pending` that the attacked pictures are yet to come.
    """

    index: int | None
    scale: str = "joint"
    truth: str | None = None
    see: str = ""
    pending: bool = False


def result(analysis: Analysis, view: View) -> str:
    """The sentence and a row of images per model."""
    rows = "".join(_row(analysis, i, view) for i in range(len(analysis.models)))
    known = f"In truth: {view.truth}. " if view.truth else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in analysis.notes)
    cells = " nls-cells" if analysis.x.shape[-1] < CELLS else ""
    return (
        f'<div class="nls-result{cells}">{_paragraph("see", view.see)}'
        '<p class="nls-sentence" role="status">'
        f"{escape(known + sentence(analysis))}</p>"
        f"{_paragraph('hint', no_better(analysis))}{rows}"
        f"{_colourbars(analysis, view)}"
        f"{f'<ul class=nls-notes>{notes}</ul>' if notes else ''}</div>"
    )


def _paragraph(kind: str, text: str) -> str:
    """A text of a kind that static/style.css knows; nothing of no text."""
    return f'<p class="nls-{kind}">{escape(text)}</p>' if text else ""


def _row(analysis: Analysis, index: int, view: View) -> str:
    model = analysis.models[index]
    point = analysis.point(model, view.index)
    colour = palette.colour_of(model.manifest)
    eps = epsilon_text(point.epsilon, analysis.request.attack)
    classes = model.manifest.classes
    target = classes[model.cam.target_class]
    clean = _figure(_clean(analysis, model.cam, view), f"map for {target}", "clean picture")
    if view.pending:
        attacked = [_figure(BLANK, what, "being computed") for what in PENDING]
    else:
        attacked = [
            _figure(
                raster.whole(point.adversarial)[0], f"attacked, ε = {eps}", _answer(model, point)
            ),
            _perturbation(analysis, point),
            _figure(_attacked(analysis, point, view), f"map for {target}", "attacked picture"),
            _figure(
                _change(analysis, model.cam, point.cam, view), "map change", "attacked - clean"
            ),
        ]
    pictures = [clean, *attacked]
    return (
        f'<section class="nls-model" style="--nls-colour:{colour}">'
        f"<h3>{escape(capital(role(index)))}: {escape(model.manifest.id)}{_facts(model)}</h3>"
        f'<p class="nls-verdict"><b>{escape(classes[model.prediction.index])}</b>, '
        f"{percent(model.prediction.confidence)} sure "
        f"({percent(model.prediction.calibrated_confidence)} after temperature scaling); "
        f"{escape(deserved(model))}.</p>"
        f"{_paragraph('use', use(model))}{_paragraph('hint', hint(model))}"
        f'<div class="nls-strip" tabindex="0">{"".join(pictures)}{_bars(model, point)}</div>'
        "</section>"
    )


def _facts(model: ModelAnalysis) -> str:
    return "".join(f' <span class="nls-fact">{escape(text)}</span>' for text in facts(model))


def _answer(model: ModelAnalysis, point: SweepPoint) -> str:
    label = model.manifest.classes[point.prediction.index]
    return f"{label}, {percent(point.prediction.confidence)}"


def _figure(pixels: raster.Pixels, caption: str, below: str) -> str:
    alt = escape(f"{caption}: {below}", quote=True)
    return (
        f'<figure><img src="{raster.png_data_uri(pixels)}" alt="{alt}">'
        f"<figcaption><b>{escape(caption)}</b><br>{escape(below)}</figcaption></figure>"
    )


def _top(analysis: Analysis, cam: CamMap, view: View) -> float:
    """The value of the brightest colour for one map."""
    if view.scale == "per-map":
        return float(cam.values.max())
    return raster.joint_top(analysis.models, view.index)


def _clean(analysis: Analysis, cam: CamMap, view: View) -> raster.Pixels:
    return raster.overlay(
        analysis.picture,
        analysis.geometry,
        cam.values,
        top=_top(analysis, cam, view),
        smooth=view.scale != "raw",
    )


def _attacked(analysis: Analysis, point: SweepPoint, view: View) -> raster.Pixels:
    picture, geometry = raster.whole(point.adversarial)
    return raster.overlay(
        picture,
        geometry,
        point.cam.values,
        top=_top(analysis, point.cam, view),
        smooth=view.scale != "raw",
    )


def _change(analysis: Analysis, clean: CamMap, attacked: CamMap, view: View) -> raster.Pixels:
    a, b = (_scaled(cam, _top(analysis, cam, view)) for cam in (clean, attacked))
    smooth = view.scale != "raw"
    return raster.difference_map(raster.resize(b - a, 256, 256, smooth=smooth), 1.0)


def _scaled(cam: CamMap, top: float) -> FloatArray:
    return cam.values / top if top > 0 else np.zeros_like(cam.values)


def _perturbation(analysis: Analysis, point: SweepPoint) -> str:
    pixels, gain = raster.perturbation(analysis.x, point.adversarial)
    norms = f"L∞ {point.linf * 255:.2f}/255, L2 {point.l2:.2f}"
    return _figure(pixels, f"perturbation × {gain:.0f}", norms)


def _bars(model: ModelAnalysis, point: SweepPoint, most: int = 5) -> str:
    """Class probabilities, clean above attacked, for the classes that matter."""
    clean, after = model.prediction.probabilities, point.prediction.probabilities
    order = np.argsort(-np.maximum(clean, after), kind="stable")[:most]
    rows = "".join(
        f'<div class="nls-bar"><span>{escape(model.manifest.classes[k])}</span>'
        f'<i style="width:{100 * clean[k]:.1f}%"></i><em>{percent(clean[k])}</em>'
        f'<i class="nls-hit" style="width:{100 * after[k]:.1f}%"></i><em>{percent(after[k])}</em>'
        "</div>"
        for k in order
    )
    return (
        f'<div class="nls-bars">{rows}<div class="nls-key"><i></i>clean '
        '<i class="nls-hit"></i>attacked</div></div>'
    )


def _colourbars(analysis: Analysis, view: View) -> str:
    top = raster.joint_top(analysis.models, view.index)
    method = analysis.request.cam
    if view.scale == "per-map":
        ends, change = ("0", "each map's own maximum"), "share of each map's own maximum"
    else:
        ends, change = ("0", f"{top:.3g}"), "share of the joint maximum"
    return (
        f'<div class="nls-scales"><div>{method}, layer {escape(analysis.models[0].cam.layer)}: '
        f'{ends[0]} <i style="background:{raster.css_gradient()}"></i> {ends[1]}</div>'
        f'<div>map change: -1 <i style="background:{raster.css_gradient(diverging=True)}"></i> +1'
        f" ({change})</div></div>"
    )


def numbers(analysis: Analysis) -> str:
    """Every tried ε with label, confidence and norms, as a table."""
    rows = [["model", "ε", "label", "confidence", "after T", "L∞", "L2", "success"]]
    for model in analysis.models:
        rows.append(_number_row(model, "0", model.prediction, ("0", "0", "")))
        for p in model.sweep:
            eps = epsilon_text(p.epsilon, analysis.request.attack)
            norms = (f"{p.linf * 255:.2f}/255", f"{p.l2:.3f}", "yes" if p.success else "no")
            rows.append(_number_row(model, eps, p.prediction, norms))
    return html.table(rows)


def _number_row(
    model: ModelAnalysis, epsilon: str, prediction: Prediction, norms: tuple[str, str, str]
) -> list[str]:
    return [
        model.manifest.id,
        epsilon,
        model.manifest.classes[prediction.index],
        percent(prediction.confidence),
        percent(prediction.calibrated_confidence),
        *norms,
    ]
