"""The focus score as HTML: the picture to paint on, and how much of each map lies on the paint."""

from __future__ import annotations

import hashlib
from html import escape

import numpy as np
from PIL import Image

from nls_core.analysis import focus
from nls_core.analysis.focus import Focus, Marked, Mask
from nls_core.analysis.results import Analysis, CamMap
from nls_core.errors import InvalidInput
from nls_core.types import Geometry
from nls_core.views import palette, raster
from nls_core.views.sentences import capital, epsilon_text, percent, role

CANVAS = 480  # longest edge of the canvas in pixels
CELLS = 120  # pictures smaller than that are shown as the pixels that they are
COLOUR = (34, 211, 238)  # of the paint; no loss and no map has it
EXPLAIN = "The focus score is the share of an activation map that lies on the object."
HOW_TO_PAINT = "Paint over the object in the picture, roughly, with mouse, pen, finger or keys."
KEYS = (  # HTML
    "Without a mouse: the arrow keys move the brush (further with <kbd>Shift</kbd>), "
    "<kbd>Space</kbd> puts it down and lifts it, <kbd>Ctrl</kbd>+<kbd>Z</kbd> takes a stroke back."
)
OUTSIDE = (
    "The paint lies outside the dashed frame, and the models see only what is in it: paint the "
    "object inside the frame."
)


def digest(analysis: Analysis) -> str:
    """Names the analyzed picture and what of it the models see: what paint belongs to."""
    text = repr((analysis.geometry, analysis.picture.shape)).encode()
    return hashlib.sha256(text + analysis.picture.tobytes()).hexdigest()[:16]


def painter(analysis: Analysis, given: Marked | None = None) -> str:
    """The picture under an empty canvas, with the tools; static/paint.js brings it to life.

    Args:
        analysis: gives the picture, and the frame that the models see of it.
        given: what is marked to begin with.
    """
    geometry = analysis.geometry
    scale = CANVAS / max(geometry.width, geometry.height)
    width, height = (max(round(n * scale), 1) for n in (geometry.width, geometry.height))
    picture = raster.shown_uri(analysis.picture)
    start, cells = "", ' class="cells"' if max(analysis.picture.shape) < CELLS else ""
    if given is not None:
        uri = raster.png_data_uri(given.mask.astype(np.uint8) * 255)
        start = f'<img class="given" src="{uri}" alt="" hidden>'
    return (
        f'<div class="nls-paint" data-picture="{digest(analysis)}">'
        f'<div class="sheet" style="aspect-ratio:{width}/{height};--wide:{width / height:.4f}">'
        f'<img{cells} src="{picture}" alt="the analyzed picture">{start}'
        f'<canvas width="{width}" height="{height}" tabindex="0" role="application" '
        f'aria-label="Paint over the object here" aria-describedby="paint-keys"></canvas>'
        f'{_frame(geometry)}<i class="cursor"></i></div>'
        '<div class="tools"><button type="button" data-tool="brush" aria-pressed="true">Brush'
        '</button><button type="button" data-tool="eraser" aria-pressed="false">Eraser</button>'
        '<button type="button" data-tool="undo" aria-disabled="true">Undo</button>'
        '<button type="button" data-tool="clear">Clear</button>'
        '<label>Size <input type="range" min="2" max="30" value="10"></label></div>'
        f'<p class="keys" id="paint-keys">{KEYS}</p>'
        '<p class="told nls-unseen" role="status"></p></div>'
    )


def _frame(geometry: Geometry) -> str:
    """A dashed line around what the models see, unless that is the whole picture."""
    left, top, right, bottom = geometry.box
    wide, high = geometry.width, geometry.height
    if left <= 0 and top <= 0 and right >= wide and bottom >= high:
        return ""
    x0, x1 = (100 * min(max(x / wide, 0.0), 1.0) for x in (left, right))
    y0, y1 = (100 * min(max(y / high, 0.0), 1.0) for y in (top, bottom))
    place = f"left:{x0:.2f}%;top:{y0:.2f}%;width:{x1 - x0:.2f}%;height:{y1 - y0:.2f}%"
    return f'<b class="frame" style="{place}"></b>'


def scores(analysis: Analysis, index: int | None, marked: Marked | None) -> str:
    """The focus of each model, clean and at one ε; or what to do.

    Args:
        analysis: of the picture.
        index: of the ε that is shown, None for 0.
        marked: the object, or None.
    """
    if marked is None or not marked.mask.any():
        return _message(HOW_TO_PAINT)
    try:
        found = focus.score(analysis, marked.mask)
    except InvalidInput:
        return _message(OUTSIDE, wrong=True)
    rows = "".join(
        _model(analysis, each, (i, index, found.area)) for i, each in enumerate(found.models)
    )
    area = percent(found.area)
    return (
        f'<div class="nls-focus" role="status"><p>{escape(marked.source)} covers {area} of what '
        f"the models see: a map without focus would get that much (dotted line).</p>{rows}</div>"
    )


def _message(text: str, *, wrong: bool = False) -> str:
    kind = "nls-hint" if wrong else "nls-todo"
    return f'<p class="{kind}" role="status">{escape(text)}</p>'


def _model(analysis: Analysis, found: Focus, at: tuple[int, int | None, float]) -> str:
    """Two bars; `at` is the model's index, that of the ε, and the object's area."""
    position, index, area = at
    model = analysis.models[position]
    point = analysis.point(model, index)
    eps = epsilon_text(point.epsilon, analysis.request.attack)
    share = found.clean if index is None else found.attacked[index]
    lines = _bar("clean map", found.clean, model.cam, area)
    lines += _bar(f"attacked, ε = {eps}", share, point.cam, area, hit=True)
    colour = palette.colour_of(model.manifest)
    name = f"{capital(role(position))}: {model.manifest.id}"
    return f'<section style="--nls-colour:{colour}"><h4>{escape(name)}</h4>{lines}</section>'


def _bar(label: str, share: float, cam: CamMap, area: float, *, hit: bool = False) -> str:
    kind = "nls-hit" if hit else ""
    zero = "" if cam.values.any() else " (a map of zeros)"
    return (
        f'<div class="line"><span>{escape(label + zero)}</span>'
        f'<div class="track"><i class="{kind}" style="width:{100 * share:.1f}%"></i>'
        f'<u style="left:{100 * area:.1f}%"></u></div>'
        f"<em>{percent(share)}</em></div>"
    )


def report(analysis: Analysis, index: int | None, marked: Marked) -> str:
    """The part of an exported report: the scores beside the marked picture; else nothing."""
    if not marked.mask.any():
        return ""
    picture = raster.png_data_uri(overlay(analysis, marked.mask))
    return (
        f'<h2>Focus</h2><p>{escape(EXPLAIN)}</p><div class="nls-marked">'
        f'<img src="{picture}" alt="the picture with its object marked">'
        f"{scores(analysis, index, marked)}</div>"
    )


def overlay(analysis: Analysis, mask: Mask) -> raster.Pixels:
    """The picture (h, w, 3) with a mask of any scale laid over it."""
    height, width = analysis.picture.shape[:2]
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    inside = np.asarray(image.resize((width, height), Image.Resampling.NEAREST)) > 0
    picture = analysis.picture.astype(np.float32)
    mixed = np.where(inside[..., None], 0.5 * picture + 0.5 * np.array(COLOUR, np.float32), picture)
    return mixed.round().astype(np.uint8)
