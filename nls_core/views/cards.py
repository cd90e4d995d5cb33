"""One model's part of a comparison as HTML: pictures, where it turns, and what its word is worth.

What depends on the strength stands in slots, elements of `data-slot`: `moving` gives their content,
so that a page which has it for all strengths can exchange it without asking (static/explore.js).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np

from nls_core.analysis.results import Analysis, CamMap, ModelAnalysis, SweepPoint
from nls_core.types import FloatArray
from nls_core.views import names, palette, raster
from nls_core.views.glossary import PADDING_TERMS, term
from nls_core.views.sentences import (
    capital,
    deserved,
    epsilon_text,
    facts,
    hint,
    percent,
    role,
    turns,
    use,
    worth,
)

Scale = Literal["joint", "per-map", "raw"]
SCALES: dict[str, str] = {
    "joint": "one colour scale for all maps",
    "per-map": "each map on its own scale",
    "raw": "the layer's cells as they are, one scale",
}
BLANK = np.full((1, 1), 128, np.uint8)  # where a picture will be
SLOTS = ("attacked", "clean-map", "attacked-map", "change", "perturbation", "bars")
LEAST = 1 / 16  # the flip point's step in 1/255, where its axis begins
CLASSES = 4  # of which bars are drawn
ENLARGED = 112  # pixels, at least, of a map: those of small inputs are enlarged by whole pixels


@dataclass(frozen=True)
class View:
    """What of an analysis is shown: the index of the ε (None is 0), the scale, the true class.

    `pending`: the attacked pictures are yet to come.
    """

    index: int | None
    scale: str = "joint"
    truth: str | None = None
    pending: bool = False


def card(analysis: Analysis, index: int, view: View) -> str:
    """A model's section; `index` is its place in the request."""
    model = analysis.models[index]
    slots = {
        name: f'<div data-slot="{index}-{name}">{text}</div>'
        for name, text in moving(analysis, index, view).items()
    }
    maps = "".join(slots[name] for name in ("clean-map", "attacked-map", "change", "perturbation"))
    colour = palette.colour_of(model.manifest)
    return (
        f'<section class="nls-model" style="--nls-colour:{colour}">{_head(model, index)}'
        f'<div class="nls-faces">{_clean(analysis, model)}{slots["attacked"]}</div>'
        f'<div class="nls-gauges">{_turns(analysis, model)}{_worth(model)}</div>'
        f"<div>{paragraph('hint', hint(model, analysis.x))}</div>"
        f'<div class="nls-strip" tabindex="0">{maps}</div>{slots["bars"]}{_details(model)}'
        "</section>"
    )


def paragraph(kind: str, text: str) -> str:
    """A text of a kind that static/style.css knows; nothing of no text."""
    return f'<p class="nls-{kind}">{escape(text)}</p>' if text else ""


def moving(analysis: Analysis, index: int, view: View, *, noise: bool = True) -> dict[str, str]:
    """The content of a model's slots at the strength of a view, by the names in `SLOTS`.

    Without `noise` the perturbation is left out.
    """
    model = analysis.models[index]
    if view.pending:
        return _pending(analysis, model, view)
    point = analysis.point(model, view.index)
    eps = epsilon_text(point.epsilon, analysis.request.attack)
    what = f"map for {model.manifest.classes[model.cam.target_class]}"
    turned = point.prediction.index != model.prediction.index
    return {
        "attacked": figure(
            raster.whole(point.adversarial)[0],
            f"attacked, ε = {eps}",
            _answer(model, point),
            "nls-turned" if turned else "",
        ),
        "clean-map": _map(analysis.x, model.cam, analysis, view, (what, "clean picture")),
        "attacked-map": _map(
            point.adversarial, point.cam, analysis, view, (what, "attacked picture")
        ),
        "change": _change(analysis, model, point, view),
        "bars": bars(model, point),
    } | ({"perturbation": _perturbation(analysis, point)} if noise else {})


def _pending(analysis: Analysis, model: ModelAnalysis, view: View) -> dict[str, str]:
    """The slots before the attack is computed: the clean map, and places of the same size."""
    clean = analysis.point(model, None)
    wait = ("attacked", "attacked map", "map change", "perturbation")
    attacked, mapped, change, noise = (figure(BLANK, what, "being computed") for what in wait)
    what = f"map for {model.manifest.classes[model.cam.target_class]}"
    seen = _map(analysis.x, model.cam, analysis, view, (what, "clean picture"))
    parts = (attacked, seen, mapped, change, noise)
    return dict(zip(SLOTS, (*parts, bars(model, clean, attacked=False)), strict=True))


def _head(model: ModelAnalysis, index: int) -> str:
    manifest = model.manifest
    key = PADDING_TERMS.get(manifest.padding) or "normalized-labels"
    return (
        f'<div><p class="nls-role">{escape(capital(role(index)))} · {escape(manifest.id)} · '
        f"{term(key, 'what is that?')}</p><h2>{escape(names.of_manifest(manifest))}</h2></div>"
    )


def _clean(analysis: Analysis, model: ModelAnalysis) -> str:
    said = model.manifest.classes[model.prediction.index]
    below = f"{said}, {percent(model.prediction.confidence)}"
    return figure(raster.whole(analysis.x)[0], "clean picture", below)


def _answer(model: ModelAnalysis, point: SweepPoint) -> str:
    label = model.manifest.classes[point.prediction.index]
    return f"{label}, {percent(point.prediction.confidence)}"


def figure(
    pixels: raster.Pixels, caption: str, below: str, kind: str = "", values: str = ""
) -> str:
    """A picture that opens large, with its caption; `values`: attributes by `_values`."""
    alt = escape(f"{caption}: {below}", quote=True)
    return (
        f'<figure class="{kind}"><button type="button" class="nls-zoom"{values} title="Enlarge">'
        f'<img src="{raster.shown_uri(pixels)}" alt="{alt}"></button>'
        f"<figcaption><b>{escape(caption)}</b><br><span>{escape(below)}</span></figcaption>"
        "</figure>"
    )


def top_of(analysis: Analysis, cam: CamMap, view: View) -> float:
    """The value of the brightest colour for one map."""
    if view.scale == "per-map":
        return float(cam.values.max())
    return raster.joint_top(analysis.models, view.index)


def _map(x: FloatArray, cam: CamMap, analysis: Analysis, view: View, told: tuple[str, str]) -> str:
    """A map over what the model sees: the same square for the clean and the attacked picture."""
    picture, geometry = raster.whole(x)
    pixels = raster.overlay(
        picture,
        geometry,
        cam.values,
        top=top_of(analysis, cam, view),
        smooth=view.scale != "raw",
        size=max(x.shape[-1], ENLARGED),
    )
    values = _values(cam.values, (0.0, float(cam.values.max())), view)
    return figure(pixels, *told, values=values)


def _change(analysis: Analysis, model: ModelAnalysis, point: SweepPoint, view: View) -> str:
    a, b = (_scaled(cam, top_of(analysis, cam, view)) for cam in (model.cam, point.cam))
    change, smooth = b - a, view.scale != "raw"
    pixels = raster.difference_map(raster.resize(change, ENLARGED, ENLARGED, smooth=smooth), 1.0)
    most = float(np.abs(change).max())
    values = _values(change, (-most, most), view)
    return figure(pixels, "map change", "attacked - clean", values=values)


def _values(values: FloatArray, ends: tuple[float, float], view: View) -> str:
    """What static/values.js reads a map (h, w) from, as attributes: its values between `ends`."""
    wide, cells = raster.readable(values, *ends)
    raw = " data-raw" if view.scale == "raw" else ""
    low, high = (f"{end:.4g}" for end in ends)
    return f' data-map="{cells}" data-wide="{wide}" data-low="{low}" data-high="{high}"{raw}'


def _scaled(cam: CamMap, top: float) -> FloatArray:
    return cam.values / top if top > 0 else np.zeros_like(cam.values)


def _perturbation(analysis: Analysis, point: SweepPoint) -> str:
    pixels, gain = raster.perturbation(analysis.x, point.adversarial)
    norms = f"L∞ {point.linf * 255:.2f}/255, L2 {point.l2:.2f}"
    return figure(pixels, f"perturbation × {gain:.0f}", norms)


def bars(model: ModelAnalysis, point: SweepPoint, *, attacked: bool = True) -> str:
    """Class probabilities, clean above attacked, for the classes that matter."""
    clean, after = model.prediction.probabilities, point.prediction.probabilities
    order = np.argsort(-np.maximum(clean, after), kind="stable")[:CLASSES]

    def line(share: float, kind: str) -> str:
        return f'<i{kind} style="width:{100 * share:.1f}%"></i><em>{percent(share)}</em>'

    hit = ' class="nls-hit"'
    rows = "".join(
        f'<div class="nls-bar"><span>{escape(model.manifest.classes[k])}</span>'
        f"{line(clean[k], '')}{line(after[k], hit) if attacked else '<em>…</em><em></em>'}</div>"
        for k in order
    )
    return (
        f'<div class="nls-bars">{rows}<div class="nls-key"><i></i>clean '
        '<i class="nls-hit"></i>attacked</div></div>'
    )


def _turns(analysis: Analysis, model: ModelAnalysis) -> str:
    """Where the model turns, on an axis that doubles; to any class, wherever the attack leads."""
    found, aimed = model.flip_point, analysis.request.attack_target is not None
    away = "without a target, " if aimed else ""
    if found is None:
        return f'<div class="nls-gauge"><b>{term("flip-point", "Turns at")}</b> …</div>'
    place = found.most if found.epsilon is None else found.epsilon
    share = math.log2(place * 255 / LEAST) / math.log2(found.most * 255 / LEAST)
    return (
        f'<div class="nls-gauge"><b>{term("flip-point", "Turns at")}</b> '
        f'{away}{escape(turns(model))}<div class="track"><i style="width:{100 * share:.0f}%"></i>'
        "</div></div>"
    )


def _worth(model: ModelAnalysis) -> str:
    """How sure it is and how often that is right, one above the other."""
    found = worth(model)
    if found is None:
        return f'<div class="nls-gauge"><b>{term("deserved", "Deserved?")}</b> not measured</div>'
    return (
        f'<div class="nls-gauge"><b>{term("deserved", "Deserved?")}</b> {escape(found.text)}'
        f'<div class="track"><i style="width:{100 * found.right:.1f}%"></i>'
        f'<u style="left:{100 * found.sure:.1f}%"></u></div></div>'
    )


def _details(model: ModelAnalysis) -> str:
    said = model.manifest.classes[model.prediction.index]
    told = "".join(f' <span class="nls-fact">{escape(text)}</span>' for text in facts(model))
    return (
        "<details><summary>All figures of this model</summary>"
        f'<p class="nls-verdict"><b>{escape(said)}</b>, {percent(model.prediction.confidence)} sure'
        f" ({percent(model.prediction.calibrated_confidence)} after "
        f"{term('temperature', 'temperature scaling')}); {escape(deserved(model))}.</p>"
        f"{paragraph('use', use(model))}<p>{told} {term('ece', 'What is ECE-15?')} "
        f"{term('prediction-set', 'What is a prediction set?')}</p></details>"
    )
