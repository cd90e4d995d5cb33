"""`Analysis` -> HTML: the sentence, the models' cards, the numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from html import escape

from nls_core.analysis.results import Analysis, ModelAnalysis, Prediction
from nls_core.views import cards, html, raster
from nls_core.views.cards import SCALES, View, paragraph
from nls_core.views.glossary import term
from nls_core.views.sentences import (
    capital,
    epsilon_axis,
    epsilon_text,
    headline,
    no_better,
    others,
    percent,
    sentence,
    the,
)

__all__ = ["SCALES", "View", "frames", "numbers", "result"]

CELLS = 100  # pixels; smaller inputs are shown with their pixels' edges
DARK = 4  # times: a model whose map is darker than the brightest by that gets a note


def result(analysis: Analysis, view: View) -> str:
    """The sentence and a card per model."""
    models = "".join(cards.card(analysis, i, view) for i in range(len(analysis.models)))
    known = f" <span class=nls-truth>In truth: {escape(view.truth)}.</span>" if view.truth else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in analysis.notes)
    cells = " nls-cells" if analysis.x.shape[-1] < CELLS else ""
    point = analysis.point(analysis.models[0], view.index)
    return (
        f'<div class="nls-result{cells}" data-frames="{_name(analysis, view)}" '
        f'data-epsilon="{_place(point.epsilon, analysis)}">'
        f'<p class="nls-sentence">{escape(headline(analysis))}{known}</p>'
        f"{paragraph('others', others(analysis))}"
        f'<div class="nls-cards">{models}</div>'
        f"{_colourbars(analysis, view)}{_dark(analysis, view)}"
        f"{f'<ul class=nls-notes>{notes}</ul>' if notes else ''}"
        f"<details class=nls-words><summary>In full</summary><p>{escape(sentence(analysis))}</p>"
        f"{paragraph('hint', no_better(analysis))}</details></div>"
    )


def _name(analysis: Analysis, view: View) -> str:
    """Names what frames belong to: all that a card shows but the strength."""
    request = replace(analysis.request, epsilons=(), flip_point=False)
    weights = [model.manifest.sha256 for model in analysis.models]
    text = repr((analysis.sha256, request, weights, view.scale))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _place(epsilon: float, analysis: Analysis) -> str:
    """A strength as the slider has it: in 1/255, or as an L2 norm."""
    scale, _ = epsilon_axis(analysis.request.attack)
    return f"{epsilon * scale:.4g}"


def frames(analysis: Analysis, view: View) -> str:
    """What changes on the cards with ε, at every strength of an analysis, as JSON.

    {"name": that of `result`, "frames": {ε: {slot: HTML}}}; of large pictures without the noise,
    which compresses badly and looks alike at all strengths.
    """
    large = analysis.x.shape[-1] >= CELLS
    found: dict[str, dict[str, str]] = {}
    for place in (None, *range(len(analysis.request.epsilons))):
        at = replace(view, index=place, pending=False)
        slots = {
            f"{i}-{name}": text
            for i in range(len(analysis.models))
            for name, text in cards.moving(analysis, i, at, noise=not large).items()
        }
        point = analysis.point(analysis.models[0], place)
        found[_place(point.epsilon, analysis)] = slots
    return json.dumps({"name": _name(analysis, view), "frames": found}, ensure_ascii=False)


def _dark(analysis: Analysis, view: View) -> str:
    """That a map is dark because of the common scale, where one is; nothing else."""
    if view.scale == "per-map":
        return ""
    top = raster.joint_top(analysis.models, view.index)
    tops = [float(model.cam.values.max()) for model in analysis.models]
    dark = [f"{the(i)}'s" for i, own in enumerate(tops) if own * DARK < top]
    if not dark:
        return ""
    several = f"{', '.join(dark[:-1])} and {dark[-1]} maps are"
    listed = several if len(dark) > 1 else f"{dark[0]} map is"
    return (
        f'<p class="nls-note">{escape(capital(listed))} dark because all '
        f"maps share one colour scale: the darkest reaches {min(tops):.2g}, the brightest "
        f'{top:.2g}. <button type="button" class="nls-link" data-scale="{SCALES["per-map"]}">Show '
        "each map on its own scale</button></p>"
    )


def _colourbars(analysis: Analysis, view: View) -> str:
    top = raster.joint_top(analysis.models, view.index)
    method, layer = analysis.request.cam, analysis.models[0].cam.layer
    if view.scale == "per-map":
        ends, change = ("0", "each map's own maximum"), "share of each map's own maximum"
    else:
        ends, change = ("0", f"{top:.3g}"), "share of the joint maximum"
    named = term("gradcam", method) if method == "gradcam" else escape(method)
    return (
        f'<div class="nls-scales"><div>{named}, {term("target-layer", f"layer {layer}")}: '
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
