"""The part of the Compare page where a person paints the object, and reads each model's focus."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from nls_core.analysis.cache import Store
from nls_core.analysis.focus import Marked, Mask
from nls_core.analysis.results import Analysis
from nls_core.decode import decode_mask
from nls_core.errors import Departed, ImageRejected, InvalidInput, NLSLabError
from nls_core.views import focus_html
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.controls import Values
from nls_core.web.pages.sessions import SESSIONS
from nls_core.web.pages.visitors import Latest
from nls_core.web.pages.widgets import LOOK, PRIVATE, message, note, script

MAX_BYTES = 1_000_000
MAX_PIXELS = 4 * focus_html.CANVAS**2
PREFIX = "data:image/png;base64,"
YOURS = "Your paint"
KNOWN = "The object's mask"
MASKS_BYTES = 32_000_000  # of all visitors' masks together


@dataclass(frozen=True)
class Paint:
    """What a session holds: of which picture, named by `focus_html.digest`, which mask is shown.

    `mask` is a key of `FocusPanel.masks`, as Gradio copies what a session holds for each of them.
    """

    picture: str
    mask: str = ""


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
    """Picture to paint on, tools, and scores of the analysis that the controls ask for."""

    def __init__(self, compare: Compare, first: Analysis | None, start: Values) -> None:
        self.work = compare
        self.masks: Store[Marked] = Store(MASKS_BYTES)
        self.latest = Latest(SESSIONS)
        paint, shown = self._begin(first, start) if first else (Paint(""), "")
        with gr.Accordion("Do they look at the object?", open=True, elem_id="focus"):
            note(focus_html.EXPLAIN)
            self.paint = gr.State(paint)
            with gr.Row():
                with gr.Column(scale=2, min_width=280):
                    self.painter = gr.HTML(
                        focus_html.painter(first, self.marked(paint)) if first else "",
                        js_on_load=script(compare.analyzer.settings, "paint.js"),
                        elem_id="paint",
                    )
                with gr.Column(scale=3, min_width=280):
                    self.scores = gr.HTML(shown, elem_id="focus-scores")

    def listen(
        self,
        inputs: Mapping[str, Any],
        computed: Any,
        moved: Any,
        followed: Callable[[Values], Analysis | None],
    ) -> None:
        """Follow what the page does.

        Args:
            inputs: the page's controls by name.
            computed: the event after which there may be another analysis.
            moved: the event after which another ε may be shown.
            followed: what they answered; None where nothing was.
        """
        self.inputs, self.followed = dict(inputs), followed
        given = {self.paint, *self.inputs.values()}
        # the picture comes from the analysis, not from the upload: paint always fits the maps
        computed.then(
            self.follow,
            given,
            [self.paint, self.painter, self.scores],
            show_progress="hidden",
            **LOOK,
            **PRIVATE,
        )
        quiet: dict[str, Any] = {"show_progress": "hidden", **LOOK, **PRIVATE}
        moved.then(self.rescore, given, self.scores, trigger_mode="multiple", **quiet)
        shown = [self.paint, self.scores]
        # 'always_last' would send the first stroke that waits, not the last, in Gradio 6.31
        self.painter.paint(self.painted, given, shown, trigger_mode="multiple", **quiet)

    def _begin(self, analysis: Analysis, values: Values) -> tuple[Paint, str]:
        """The paint that a picture begins with, and its scores: none, or an example's mask."""
        blank = Paint(focus_html.digest(analysis))
        try:
            mask = self.work.known_mask(analysis)
        except InvalidInput as error:
            return blank, message(str(error), wrong=True)
        paint = blank if mask is None else self._paint(blank.picture, Marked(mask, KNOWN))
        return paint, self._scores(analysis, values, paint)

    def _paint(self, picture: str, marked: Marked) -> Paint:
        key = hashlib.sha256(marked.source.encode() + marked.mask.tobytes()).hexdigest()
        self.masks.put(key, marked)
        return Paint(picture, key)

    def marked(self, paint: Paint) -> Marked | None:
        """The mask that a session's paint stands for, while it is kept."""
        return self.masks.get(paint.mask)

    def _scores(self, analysis: Analysis, values: Values, paint: Paint) -> str:
        index = self.work.view(analysis, values).index
        return focus_html.scores(analysis, index, self.marked(paint))

    def _given(self, data: Mapping[Any, Any]) -> tuple[Values, Paint]:
        """What the controls say, and the paint."""
        values = {name: data[component] for name, component in self.inputs.items()}
        return values, data[self.paint]

    def follow(self, data: dict[Any, Any]) -> list[Any]:
        """After an analysis: scores of the new maps; of another picture, also a new canvas."""
        values, paint = self._given(data)
        try:
            analysis = self.followed(values)
        except NLSLabError:  # the page shows it above the result, which stays
            analysis = None
        if analysis is None:
            return [gr.skip()] * 3
        if paint.picture == focus_html.digest(analysis):
            return [gr.skip(), gr.skip(), self._scores(analysis, values, paint)]
        paint, shown = self._begin(analysis, values)
        return [paint, focus_html.painter(analysis, self.marked(paint)), shown]

    def rescore(self, data: dict[Any, Any]) -> Any:
        """The scores at another ε."""
        values, paint = self._given(data)
        try:
            analysis = self.followed(values)
        except Departed:
            analysis = None
        except NLSLabError as error:
            return message(str(error), wrong=True)
        return gr.skip() if analysis is None else self._scores(analysis, values, paint)

    def painted(self, data: dict[Any, Any], event: gr.EventData) -> list[Any]:
        """After a stroke: its scores.

        Paint on a picture that is gone is dropped, and so is what a later stroke has overtaken.
        """
        turn = self.latest.begin()
        sent = event._data if isinstance(event._data, dict) else {}
        try:
            values, _ = self._given(data)
            analysis = self.work.look(values)
            picture = focus_html.digest(analysis)
            if sent.get("picture") != picture:
                return [gr.skip(), gr.skip()]
            mask = self.work.analyzer.in_decoder(partial(read_paint, sent.get("mask")))
        except NLSLabError as error:
            return [gr.skip(), message(str(error), wrong=True)]
        paint = self._paint(picture, Marked(mask, YOURS))
        if not self.latest.is_latest(turn):
            return [gr.skip(), gr.skip()]
        return [paint, self._scores(analysis, values, paint)]
