"""The part of the Compare page where a person paints the object, and reads each model's focus."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nls_core import focus_html
from nls_core.compare import Compare, Values
from nls_core.decode import decode_mask
from nls_core.focus import Marked, Mask
from nls_core.types import Analysis, ImageRejected, InvalidInput, TooLarge
from nls_core.widgets import PRIVATE, message, note

MAX_BYTES, MAX_PIXELS = 1_000_000, 4 * focus_html.CANVAS**2
PREFIX = "data:image/png;base64,"
YOURS, KNOWN = "Your paint", "The object's mask"


@dataclass(frozen=True)
class Paint:
    """What is marked in which picture, named by `focus_html.digest`."""

    picture: str
    marked: Marked | None = None


def read_paint(uri: object) -> Mask:
    """The mask that the page sends.

    Raises:
        ImageRejected, TooLarge: it is not what our page sends.
    """
    if not isinstance(uri, str) or not uri.startswith(PREFIX):
        raise ImageRejected(f"expected paint that begins {PREFIX!r}, got {str(uri)[:40]!r}")
    try:
        data = base64.b64decode(uri.removeprefix(PREFIX), validate=True)
    except ValueError as error:  # binascii.Error is one
        raise ImageRejected(f"expected paint in base64, got text that is not: {error}") from error
    return decode_mask(data, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)


class FocusPanel:
    """Picture to paint on, tools, and scores; the page's own state holds the analysis."""

    def __init__(self, compare: Compare, first: Analysis, start: Values) -> None:
        self.work = compare
        begun, shown = self._begin(first, start)
        script = compare.analyzer.settings.static_dir / "paint.js"
        with gr.Accordion("Do they look at the object?", open=True, elem_id="focus"):
            note(focus_html.EXPLAIN)
            self.paint = gr.State(begun)
            with gr.Row():
                with gr.Column(scale=2, min_width=280):
                    self.painter = gr.HTML(
                        focus_html.painter(first, begun.marked),
                        js_on_load=script.read_text(encoding="utf-8"),
                        elem_id="paint",
                    )
                with gr.Column(scale=3, min_width=280):
                    self.scores = gr.HTML(shown, elem_id="focus-scores")

    def listen(self, inputs: Mapping[str, Any], state: gr.State, computed: Any) -> None:
        """Follow what the page does.

        Args:
            inputs: the page's controls by name.
            state: holds the analysis.
            computed: the event after which `state` may hold another one.
        """
        self.state = state
        self.inputs = {name: inputs[name] for name in ("image", "epsilon", "scale")}
        given = {state, self.paint, *self.inputs.values()}
        # the picture comes from the analysis, not from the upload: paint always fits the maps
        computed.then(
            self.follow,
            given,
            [self.paint, self.painter, self.scores],
            show_progress="hidden",
            **PRIVATE,
        )
        quiet: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
        inputs["epsilon"].input(self.rescore, given, self.scores, **quiet, **PRIVATE)
        self.painter.paint(self.painted, given, [self.paint, self.scores], **quiet, **PRIVATE)

    def _begin(self, analysis: Analysis, values: Values) -> tuple[Paint, str]:
        """The paint that a picture begins with, and its scores: none, or an example's mask."""
        blank = Paint(focus_html.digest(analysis))
        try:
            mask = self.work.known_mask(values, analysis.geometry)
        except InvalidInput as error:
            return blank, message(str(error), wrong=True)
        begun = blank if mask is None else Paint(blank.picture, Marked(mask, KNOWN))
        return begun, self._scores(analysis, values, begun)

    def _scores(self, analysis: Analysis, values: Values, paint: Paint) -> str:
        index = self.work.view(values).index
        return focus_html.scores(analysis, index, paint.marked)

    def _given(self, data: Mapping[Any, Any]) -> tuple[Analysis, Values, Paint]:
        values = {name: data[component] for name, component in self.inputs.items()}
        return data[self.state], values, data[self.paint]

    def follow(self, data: dict[Any, Any]) -> list[Any]:
        """After an analysis: scores of the new maps; of another picture, also a new canvas."""
        analysis, values, paint = self._given(data)
        if paint.picture == focus_html.digest(analysis):
            return [gr.skip(), gr.skip(), self._scores(analysis, values, paint)]
        begun, shown = self._begin(analysis, values)
        return [begun, focus_html.painter(analysis, begun.marked), shown]

    def rescore(self, data: dict[Any, Any]) -> str:
        """The scores at another ε."""
        return self._scores(*self._given(data))

    def painted(self, data: dict[Any, Any], event: gr.EventData) -> list[Any]:
        """After a stroke: its scores; paint on a picture that is gone is dropped."""
        analysis, values, paint = self._given(data)
        sent = event._data if isinstance(event._data, dict) else {}
        if sent.get("picture") != paint.picture:
            return [gr.skip(), gr.skip()]
        try:
            mask = read_paint(sent.get("mask"))
        except (ImageRejected, TooLarge) as error:
            return [gr.skip(), message(str(error), wrong=True)]
        paint = Paint(paint.picture, Marked(mask, YOURS))
        return [paint, self._scores(analysis, values, paint)]
