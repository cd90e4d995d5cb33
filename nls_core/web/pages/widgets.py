"""What the pages share: the settings of their events, and how they speak to a person."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from nls_core.families import FAMILIES
from nls_core.settings import Settings
from nls_core.views import raster

# Events that run models: they wait in the analyzer's own queue, which is fair and bounded. Gradio's
# limit, shared by all listeners of this id, only keeps threads free for events that run none.
LANE: dict[str, Any] = {"concurrency_id": "lane", "concurrency_limit": 20}
LOOK: dict[str, Any] = {"concurrency_id": "look", "concurrency_limit": 10}  # at what is computed
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
THUMBNAIL = 72  # pixels of an edge
PROGRESS = gr.Progress()  # as a default value: Gradio's way to ask for a progress bar


def message(text: str, *, wrong: bool = False, state: str = "") -> str:
    """A sentence for the person at the page, as HTML; `wrong` marks an error.

    `state` of a computation: 'busy' while there is more to come, 'old' where what is shown is no
    longer what was asked for, or both.
    """
    marks = " ".join(f"nls-{each}" for each in state.split())
    kind = ' class="nls-error" role="alert"' if wrong else f' role="status" class="{marks}"'
    return f"<p{kind}>{escape(text)}</p>"


def intro(title: str, text: str, **options: Any) -> gr.HTML:
    """A page's heading and what it is for; `text` is HTML."""
    return gr.HTML(f'<div class="nls-intro"><h1>{escape(title)}</h1><p>{text}</p></div>', **options)


def explained(text: str) -> str:
    """A plain explanation beside a figure; both are HTML."""
    return f'<p class="nls-explain">{text}</p>'


def note(text: str) -> gr.HTML:
    """`explained` as a component."""
    return gr.HTML(explained(text))


def upload(value: str | None = None, **options: Any) -> gr.Image:
    """A picture to upload, paste or photograph; handlers get the path of the file as it was sent.

    Gradio's own way would open it with every parser that Pillow has, and write some files anew,
    before our decoder sees them.
    """
    image = gr.Image(
        value,
        type="filepath",
        image_mode=None,
        sources=["upload", "webcam", "clipboard"],
        buttons=[],
        **options,
    )
    image.preprocess = _path_of  # type: ignore[method-assign]
    return image


def _path_of(payload: Any) -> str | None:
    if payload is None:
        return None
    if not payload.path:  # a data URL, say
        raise gr.Error("expected an uploaded file; got something else", print_exception=False)
    return str(payload.path)


def slider(*limits: float, **options: Any) -> gr.Slider:
    """A slider whose value is checked with the request that it is part of.

    Gradio's own check, of what people type beside it, would mark every output 'Error'.
    """
    made = gr.Slider(*limits, **options)
    made.preprocess = _number  # type: ignore[method-assign]
    return made


def _number(payload: Any) -> float:
    if isinstance(payload, bool) or not isinstance(payload, int | float):
        raise gr.Error("expected a number; got something else", print_exception=False)
    return payload


def gallery(value: str, settings: Settings) -> gr.HTML:
    """Examples to click, `value` of `pictures`; its `select` event tells the index of one."""
    return gr.HTML(value, js_on_load=script(settings, "pick.js"), elem_id="examples")


def pictures(known: Sequence[tuple[Path, str]]) -> str:
    """(path, title) of examples as small pictures that name themselves, HTML."""
    buttons = "".join(
        f'<button type="button" tabindex="{-1 if i else 0}" aria-pressed="false" '
        f'title="{escape(title)}" aria-label="{escape(title)}"><img alt="" src="{_small(path)}">'
        "</button>"
        for i, (path, title) in enumerate(known)
    )
    return f'<div class="grid-container" role="toolbar" aria-label="Examples">{buttons}</div>'


@lru_cache(maxsize=256)
def _small(path: Path) -> str:
    with Image.open(path, formats=["JPEG", "PNG"]) as picture:  # of our own
        small = ImageOps.fit(picture.convert("RGB"), (THUMBNAIL, THUMBNAIL))
    return raster.shown_uri(np.asarray(small))


def script(settings: Settings, name: str) -> str:
    """A script of static/, for `js_on_load`."""
    return (settings.static_dir / name).read_text(encoding="utf-8")


def no_report() -> gr.HTML:
    """What to do where no family has a report."""
    text = (
        "There is no report yet that has what this page shows: `nls train --grid FAMILY`, then "
        f"`nls evaluate --family FAMILY`, make it, where FAMILY is one of {', '.join(FAMILIES)} "
        "(or `make reproduce`, a day)."
    )
    return gr.HTML(message(text, wrong=True))
