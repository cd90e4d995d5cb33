"""What Compare answers, as it becomes known: clean, at the ε that is shown, and then the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr
from gradio.components.plot import PlotData

from nls_core.analysis.results import Analysis
from nls_core.errors import Departed, NLSLabError
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.controls import Values, epsilon_slider
from nls_core.web.pages.visitors import Latest
from nls_core.web.pages.widgets import PROGRESS, message

REMEMBERED = 1000  # visitors whose last question is known
PENDING = message("The clean picture is answered; its attack is being computed …")
FOLLOWS = message("Further strengths and the flip points are being computed …")


def chart(text: str | None) -> PlotData | None:
    """A chart as the page takes it, of Plotly's JSON."""
    return None if text is None else PlotData(type="plotly", plot=text)


class Answers:
    """The handlers; `inputs` are the page's controls by name, which it adds as it is built."""

    def __init__(self, compare: Compare, inputs: Mapping[str, Any]) -> None:
        self.work, self.inputs = compare, inputs
        self.latest = Latest(REMEMBERED)

    def values(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Component -> value, as Gradio gives it, to name -> value."""
        return {name: data[component] for name, component in self.inputs.items()}

    def compute(self, data: dict[Any, Any], progress: gr.Progress = PROGRESS) -> Iterator[Any]:
        """Analyze the picture: clean, then at the ε that is shown; `complete` does the rest.

        On an error what is shown stays, and the message says why.
        """
        self.latest.begin()
        values = self.values(data)
        slider = gr.update(
            **epsilon_slider(values["baseline"], values["attack"], values["epsilon"])
        )
        keep = [slider, *[gr.skip()] * 5]
        if not values["image"]:
            yield [message("Upload, paste or photograph a picture, or click an example."), *keep]
            return
        note = self.work.slow_note(values)
        try:
            if not self.work.is_ready(values):
                yield [PENDING, slider, *self._shown(self.work.clean(values), values)]
            with self.latest.while_latest():
                analysis = self.work.look(
                    values, lambda done, what: progress(done, desc=what + note)
                )
        except Departed:  # something else is asked for, and will be shown
            yield [gr.skip(), *keep]
        except NLSLabError as error:
            yield [message(str(error), wrong=True), *keep]
        else:
            yield ["", slider, *self._shown(analysis, values)]

    def _shown(self, analysis: Analysis, values: Values) -> list[Any]:
        result, *charts, numbers = self.work.show(analysis, values)
        return [result, *map(chart, charts), numbers]

    def complete(self, data: dict[Any, Any]) -> Iterator[Any]:
        """The other strengths and the flip points, where they are not there yet."""
        values, keep = self.values(data), [gr.skip()] * 5
        try:
            if not values["image"] or self.work.is_whole(values):
                yield [gr.skip(), *keep]
                return
            yield [FOLLOWS, *keep]
            with self.latest.while_latest():
                analysis = self.work.analyze(values)
        except Departed:
            yield [gr.skip(), *keep]
        except NLSLabError as error:
            yield [message(str(error), wrong=True), *keep]
        else:
            yield ["", *self._shown(analysis, values)]

    def show(self, data: dict[Any, Any]) -> list[Any]:
        """Show another ε, or the maps on another colour scale.

        No session holds an analysis: `Analyzer` keeps what was computed. An ε that was not, on a
        large picture, is computed now.
        """
        values = self.values(data)
        if not values["image"]:
            return [gr.skip()] * 6
        try:
            if not self.work.is_ready(values):
                self.latest.begin()  # what is still computed can wait
            result, sweep, *_, numbers = self._shown(self.work.look(values), values)
        except NLSLabError as error:
            return [message(str(error), wrong=True), *[gr.skip()] * 5]
        # how well the models are calibrated does not depend on ε
        return ["", result, sweep, gr.skip(), gr.skip(), numbers]
