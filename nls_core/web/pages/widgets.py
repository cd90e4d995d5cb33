"""What the pages share: the settings of their events, and how they speak to a person."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from nls_core.families import FAMILIES

# Events that run models: they wait in the analyzer's own queue, which is fair and bounded. Gradio's
# limit, shared by all listeners of this id, only keeps threads free for events that run none.
LANE: dict[str, Any] = {"concurrency_id": "lane", "concurrency_limit": 20}
LOOK: dict[str, Any] = {"concurrency_id": "look", "concurrency_limit": 10}  # at what is computed
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
PROGRESS = gr.Progress()  # as a default value: Gradio's way to ask for a progress bar


def message(text: str, *, wrong: bool = False) -> str:
    """A sentence for the person at the page, as HTML; `wrong` marks an error."""
    kind = ' class="nls-error" role="alert"' if wrong else ' role="status"'
    return f"<p{kind}>{escape(text)}</p>"


def intro(title: str, text: str) -> gr.HTML:
    """A page's heading and what it is for; `text` is HTML."""
    return gr.HTML(f'<div class="nls-intro"><h1>{escape(title)}</h1><p>{text}</p></div>')


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


def gallery(pictures: list[tuple[str, str]]) -> gr.Gallery:
    """Examples to click: (path, title) each."""
    return gr.Gallery(
        pictures,
        label="Examples",
        show_label=False,
        columns=6,
        height="auto",
        allow_preview=False,
        interactive=False,
        elem_id="examples",
        buttons=[],
    )


def no_report() -> gr.HTML:
    """What to do where no family has a report."""
    text = (
        "There is no report yet that has what this page shows: `nls train --grid FAMILY`, then "
        f"`nls evaluate --family FAMILY`, make it, where FAMILY is one of {', '.join(FAMILIES)} "
        "(or `make reproduce`, a day)."
    )
    return gr.HTML(message(text, wrong=True))
