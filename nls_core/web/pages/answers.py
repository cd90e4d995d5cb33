"""What Compare answers, as it becomes known: clean, at the ε that is shown, and then the rest."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from typing import Any

import gradio as gr
from gradio.components.plot import PlotData

from nls_core.analysis.one_model import Progress
from nls_core.analysis.results import Analysis
from nls_core.errors import Departed, NLSLabError
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.controls import Values, epsilon_slider
from nls_core.web.pages.visitors import Latest, watched
from nls_core.web.pages.widgets import message

REMEMBERED = 1000  # visitors whose last question is known
ASKED = "Computing what the models say of the clean picture …"
PENDING = "The clean picture is answered; its attack is being computed"
FOLLOWS = "Further strengths and the flip points are being computed"
EMPTY = "Upload, paste or photograph a picture, or click an example."
STOPPED = "Stopped. Move ε, or choose again, to go on."
VIEWS = 6  # outputs of an analysis: the result, four charts, the numbers
ENDED = "ended"  # in place of a question: it failed or there was none, and nothing follows it


def chart(text: str | None) -> PlotData | None:
    """A chart as the page takes it, of Plotly's JSON."""
    return None if text is None else PlotData(type="plotly", plot=text)


class Answers:
    """The handlers; `inputs` are the page's controls by name, which it adds as it is built.

    `opened` is the question that the page opens with, where its answer is on it already.
    """

    def __init__(self, compare: Compare, inputs: Mapping[str, Any]) -> None:
        self.work, self.inputs = compare, inputs
        self.latest = Latest(REMEMBERED)
        self.opened: Hashable = None

    def values(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Component -> value, as Gradio gives it, to name -> value."""
        return {name: data[component] for name, component in self.inputs.items()}

    def compute(self, data: dict[Any, Any]) -> Iterator[Any]:
        """Analyze the picture: clean, then at the ε that is shown; `complete` does the rest.

        What was asked for last is not computed and drawn again: Gradio tells some changes twice,
        and of the first picture as if it had changed. On an error what is shown stays, and the
        message says why.
        """
        values = self.values(data)
        slider = gr.update(
            **epsilon_slider(values["baseline"], values["attack"], values["epsilon"])
        )
        keep = [slider, *[gr.skip()] * VIEWS]
        if not values["image"]:
            self._begin(ENDED)
            yield [message(EMPTY, state="old"), *keep]
            return
        try:
            question = self.work.question(values)
            if question == (self.latest.last("question") or self.opened):
                self.latest.put("question", question)
                yield [gr.skip()] * (2 + VIEWS)
                return
            yield from self._answer(values, slider, self._begin(question))
        except Departed:
            yield [self._departed(), *keep]
        except NLSLabError as error:
            self.latest.put("question", ENDED)
            yield [message(str(error), wrong=True), *keep]

    def _begin(self, question: Hashable) -> int:
        turn = self.latest.begin()
        self.latest.put("question", question)
        return turn

    def _answer(self, values: Values, slider: Any, turn: int) -> Iterator[list[Any]]:
        if not self.work.is_ready(values):
            yield [message(ASKED, state="busy old"), slider, *[gr.skip()] * VIEWS]
            told = PENDING + self.work.duration(values)
            with self.latest.while_latest(turn):
                clean = self.work.clean(values)
            yield [busy(told), slider, *self._shown(clean, values)]
            analysis = yield from self._told(values, self.work.look, (turn, told, 2 + VIEWS))
        else:
            analysis = self.work.look(values)
        yield ["", slider, *self._drawn(analysis, values, turn)]

    def _told(
        self, values: Values, work: Callable[..., Analysis], how: tuple[int, str, int]
    ) -> Generator[list[Any], None, Analysis]:
        """Do some work of `Compare` while it is the latest; yields how far it is.

        `how`: the question's number, what is being done, and how many outputs there are.
        """
        turn, told, outputs = how

        def latest(progress: Progress) -> Analysis:
            with self.latest.while_latest(turn):
                return work(values, progress)

        def shown(done: str) -> list[Any]:
            first = busy(told, done) if self.latest.is_latest(turn) else gr.skip()
            return [first, *[gr.skip()] * (outputs - 1)]

        return (yield from watched(latest, shown))

    def _shown(self, analysis: Analysis, values: Values) -> list[Any]:
        result, *charts, numbers = self.work.show(analysis, values)
        return [result, *map(chart, charts), numbers]

    def _drawn(self, analysis: Analysis, values: Values, turn: int) -> list[Any]:
        """`_shown`, unless something else is asked for before it ends: drawing takes time too."""
        with self.latest.while_latest(turn):
            return self._shown(analysis, values)

    def complete(self, data: dict[Any, Any]) -> Iterator[Any]:
        """The other strengths and the flip points, where they are not there yet."""
        values, keep = self.values(data), [gr.skip()] * VIEWS
        try:
            if self._ended() or not values["image"] or self.work.is_whole(values):
                yield [gr.skip(), *keep]
                return
            told = FOLLOWS + self.work.duration(values, whole=True)
            yield [busy(told), *keep]
            turn = self.latest.turn()
            how = (turn, told, 1 + VIEWS)
            analysis = yield from self._told(values, self.work.analyze, how)
            yield ["", *self._drawn(analysis, values, turn)]
        except Departed:
            yield [self._departed(), *keep]
        except NLSLabError as error:
            yield [message(str(error), wrong=True), *keep]

    def show(self, data: dict[Any, Any]) -> list[Any]:
        """Show another ε, or the maps on another colour scale.

        No session holds an analysis: `Analyzer` keeps what was computed. An ε that was not, on a
        large picture, is computed now.
        """
        values = self.values(data)
        if not values["image"]:
            return [gr.skip()] * (1 + VIEWS)
        try:
            question = self.work.question(values)
            if self.work.is_ready(values):
                self.latest.put("question", question)
            else:
                self._begin(question)  # what is still computed can wait
            result, sweep, steps, *_, numbers = self._shown(self.work.look(values), values)
        except NLSLabError as error:
            return [message(str(error), wrong=True), *[gr.skip()] * VIEWS]
        # how well the models are calibrated does not depend on ε
        return ["", result, sweep, steps, gr.skip(), gr.skip(), numbers]

    def frames(self, data: dict[Any, Any]) -> Any:
        """What static/explore.js shows at each strength that is computed, unless it has that."""
        values = self.values(data)
        if not values["image"] or self._ended():
            return gr.skip()
        try:
            with self.latest.while_latest():
                name, text = self.work.frames(values)
        except NLSLabError:  # the page has said it
            return gr.skip()
        if self.latest.last("frames") == name:
            return gr.skip()
        self.latest.put("frames", name)
        return text

    def followed(self, values: Values) -> Analysis | None:
        """The answer that something follows, as `Compare.look`; None where there is none.

        It was stopped, or failed; what follows would otherwise compute it, and nobody see it.

        Raises:
            Departed: something else is asked for; and as `look`.
        """
        if self._ended():
            return None
        with self.latest.while_latest():
            return self.work.look(values)

    def _ended(self) -> bool:
        return self.latest.last("question") in (ENDED, STOPPED)

    def stop(self) -> str:
        """Stop what is computed for this visitor."""
        self._begin(STOPPED)
        return message(STOPPED)

    def _departed(self) -> Any:
        """What is said where work was left: of a new question its own answer tells.

        That it was stopped is said again, as words on how far it was may have come after it.
        """
        stopped = self.latest.last("question") == STOPPED
        return message(STOPPED) if stopped else gr.skip()


def busy(told: str, done: str = "") -> str:
    """That something is being computed, and how far it is."""
    return message(f"{told}: {done}" if done else f"{told} …", state="busy")
