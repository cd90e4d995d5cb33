"""The page *Compare*: its components and events around `compare_work.Compare`."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from nls_core.analysis import masking
from nls_core.analysis.results import Analysis
from nls_core.errors import NLSLabError
from nls_core.views import masking_html
from nls_core.views.glossary import term
from nls_core.web.pages import extras, menus, navigation, scripting
from nls_core.web.pages.answers import Answers, chart
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.menus import Menus
from nls_core.web.pages.painting import FocusPanel
from nls_core.web.pages.sharing import QUIET, Sharing
from nls_core.web.pages.sight import WAITING, when_in_sight
from nls_core.web.pages.widgets import (
    LANE,
    LOOK,
    PRIVATE,
    PROGRESS,
    explained,
    intro,
    message,
)

# menus that compute
CHOICES = ("baseline", "candidate", "attack", "cam", "target", "towards", "layer")
FIELDS = ("steps", "seed")  # and fields
TITLE = "What do normalized soft labels do to an image classifier?"
INTRO = "One picture, two models: what they see, how sure they are, and what a little noise does."
ABOUT_MASKING = explained(
    "Attacks each model, at the ε that is shown, with the other's attacked picture and with Square "
    f"({masking.QUERIES} queries, no gradient): does it withstand noise, or hide its gradient?"
)
FOLD = """() => { if (window.innerWidth < 640) {
  document.querySelector('#controls > button.open')?.click(); } }"""


class ComparePage:
    """The components, and what happens when one is touched."""

    def __init__(self, compare: Compare) -> None:
        self.work = compare
        self.blocks: gr.Blocks
        self.inputs: dict[str, Any] = {}
        self.answers = Answers(compare, self.inputs)
        self.sharing = Sharing(self.answers, self.inputs)
        start = self.start = compare.start(compare.families[0])
        wrong = [f"Not served: {why}" for why in compare.analyzer.unusable.values()]
        try:
            # a large picture is computed once somebody opens the page, unless its analysis ships
            first: Analysis | None = compare.analyze(start) if compare.opens(start) else None
        except NLSLabError as error:  # the page opens without a result, and says why
            first = None
            wrong.append(str(error))
        with gr.Blocks(title="NLS Lab", analytics_enabled=False, fill_width=True) as self.blocks:
            navigation.header(navigation.HOME_TITLE, skip="#strength")
            intro(TITLE, INTRO, elem_id="intro")
            self.menus = Menus(compare, self.inputs, start)
            self.told, self.tale = gr.State(0.0), gr.State("")  # when; the picture of which story
            with gr.Row(elem_id="main"):
                with gr.Column(scale=1, min_width=280, elem_id="choose"):
                    self.menus.pictures()
                    with gr.Accordion("Models and map", open=True, elem_id="controls"):
                        self.menus.models()
                        with gr.Accordion("Advanced", open=False):
                            self.menus.advanced()
                with gr.Column(scale=3, min_width=320, elem_id="answers"):
                    self._strength("".join(message(text, wrong=True) for text in wrong))
                    empty = ["", None, None, None, None, ""]
                    shown = compare.show(first, start) if first else empty
                    self.sharing.notice()
                    self._results(shown, first)
            if first:
                self.answers.opened = compare.question(start)
            self.frames = extras.frames(compare.analyzer.settings)
            extras.tour(compare.analyzer.settings)
            self._listen(opens=first is None)

    # --- what is on the page -------------------------------------------------------------

    def _strength(self, wrong: str) -> None:
        """Attack and ε in sight of what they change, what is going on, and how to stop it."""
        with gr.Column(elem_id="strength"):
            self.menus.strength()
            with gr.Row(elem_id="status"):
                self.about = gr.HTML(menus.about(self.start["attack"]), elem_id="about-attack")
                self.message = gr.HTML(wrong, elem_id="message")
                self.stop = gr.Button("Stop", size="sm", elem_id="stop", min_width=64, scale=0)

    def _results(self, shown: list[Any], first: Analysis | None) -> None:
        self.result = gr.HTML(shown[0], elem_id="result")
        self.ask = gr.Button("Masked or robust?", size="sm", elem_id="ask-masking")
        self.masking = gr.HTML(ABOUT_MASKING, elem_id="masking-verdict")
        self.focus = FocusPanel(self.work, first, self.start)
        with gr.Row(elem_id="course", elem_classes=WAITING):
            with gr.Column(min_width=300):
                gr.HTML(
                    "<h2>Confidence over ε</h2>"
                    + explained(
                        "A cross marks a strength at which the clean answer is lost; the same "
                        f"figures are a table at the end of the page. {term('epsilon')}"
                    )
                )
                self.sweep = gr.Plot(chart(shown[1]), show_label=False, visible=False)
            with gr.Column(min_width=300):
                gr.HTML(
                    "<h2>The attack, step by step</h2>"
                    + explained(
                        "How probable the clean answer is after each step, from a random place "
                        "within ε; a cross: it is lost. Dotted: where the attack ends or leads."
                    )
                )
                self.steps = gr.Plot(
                    chart(shown[2]), show_label=False, visible=False, elem_id="attack-steps"
                )
        gr.HTML(
            "<h2>Is the confidence deserved?</h2>"
            + explained(
                "Of test pictures, sorted by confidence: the share that is right. Red is the bin "
                f"of this picture, the dotted line is perfect. {term('ece')}"
            )
        )
        with gr.Row(elem_id="deserved", elem_classes=WAITING):
            self.reliability = [
                gr.Plot(chart(plot), show_label=False, visible=False, min_width=300)
                for plot in shown[3:5]
            ]
        self.sharing.build(shown[5])

    # --- what happens --------------------------------------------------------------------

    def _listen(self, *, opens: bool) -> None:
        """What each control does; with `opens` the page analyzes once it is opened."""
        computed, moved = self._on_controls(opens=opens)
        self.focus.listen(self.inputs, computed, moved, self.answers.followed)
        self._on_masking(computed)
        self._on_choices()
        self._on_export(opens=opens)
        self._on_script()
        when_in_sight(self.blocks, "course", [self.sweep, self.steps])
        when_in_sight(self.blocks, "deserved", self.reliability)
        self.blocks.load(None, js=FOLD, **PRIVATE)  # on a phone the controls begin folded

    def _on_controls(self, *, opens: bool) -> tuple[Any, Any]:
        """Analyze or draw anew; returns the events of an analysis, and of another ε."""
        shown = [self.result, self.sweep, self.steps, *self.reliability, self.sharing.numbers]
        given: dict[str, Any] = {"inputs": set(self.inputs.values()), **QUIET}
        computed = gr.on(
            [
                self.inputs["image"].change,
                self.told.change,
                self.sharing.restored.change,
                # a mouse's choice is two events `input`, and one `select`
                *(self.inputs[name].select for name in CHOICES),
                *(self.inputs[name].input for name in FIELDS),
                self.inputs["more"].input,
                self.inputs["more"].blur,  # what is taken away by key is no `input`
            ],
            self.answers.compute,
            outputs=[self.message, self.inputs["epsilon"], *shown],
            trigger_mode="always_last",
            **LANE,
            **given,
        )
        moved = gr.on(
            [self.inputs["epsilon"].input, self.inputs["scale"].input],
            self.answers.show,
            outputs=[self.message, *shown],
            trigger_mode="always_last",
            **LOOK,
            **given,
        )
        self._follow(computed, moved, [self.message, *shown])
        if not opens:
            self.blocks.load(self.answers.frames, outputs=self.frames, **LOOK, **given)
        self.inputs["attack"].select(
            menus.about, self.inputs["attack"], self.about, **LOOK, **QUIET
        )
        self.stop.click(self.answers.stop, None, self.message, **LOOK, **QUIET)
        return computed, moved

    def _follow(self, computed: Any, moved: Any, shown: list[Any]) -> None:
        """What takes longer follows by itself, and stops when something else is asked for."""
        given: dict[str, Any] = {"inputs": set(self.inputs.values()), **QUIET}
        for before in (computed, moved):
            self.sharing.after(before)
            before.then(
                self.answers.complete,
                outputs=shown,
                trigger_mode="multiple",  # one that is stopped may not have ended yet
                **LANE,
                **given,
            ).then(self.answers.frames, outputs=self.frames, **LOOK, **given)

    def _on_masking(self, computed: Any) -> None:
        """Answer the question about masking; clear an answer of another picture or ε."""
        inputs = set(self.inputs.values())
        self.ask.click(self.masked, inputs, [self.message, self.masking], **LANE, **PRIVATE)
        for stale in (computed.then, self.inputs["epsilon"].input):
            stale(lambda: ABOUT_MASKING, None, self.masking, show_progress="hidden", **PRIVATE)

    def _on_choices(self) -> None:
        """Take an example, or another family."""
        family, image = self.inputs["family"], self.inputs["image"]
        self.menus.gallery.select(
            self.pick_example, family, image, show_progress="hidden", **PRIVATE
        )
        # the picture comes last: its change computes, with what the menus then hold
        refilled = [
            self.menus.gallery,
            self.menus.stories,
            *(self.inputs[name] for name in menus.REFILLED),
        ]
        family.select(
            self.menus.refill, family, refilled, show_progress="hidden", **PRIVATE
        ).success(self.work.first_picture, family, image, show_progress="hidden", **PRIVATE)

        told = [self.inputs[name] for name in menus.TOLD]
        # here too the picture comes last; `told` is another each time, the picture may be the same
        self.menus.stories.select(
            self.menus.tell, family, [*told, self.tale], show_progress="hidden", **PRIVATE
        ).success(
            lambda tale: (tale, time.monotonic()),
            self.tale,
            [image, self.told],
            show_progress="hidden",
            **PRIVATE,
        )

    def _on_export(self, *, opens: bool) -> None:
        filled = [self.menus.gallery, self.menus.stories]
        self.sharing.opened(self.blocks.load, filled, self.menus.refill, opens=opens)
        self.sharing.listen(self.export, {self.focus.paint})

    def _on_script(self) -> None:
        """The endpoints for scripts, `/compare` and `/analyze`."""
        # text, not the menus: they hold the models of one family, a script may ask for any
        names = ("baseline", "candidate", "attack", "cam")
        scripted = [self.inputs["image"]]
        scripted += [gr.Textbox(self.start[name], visible=False, max_length=100) for name in names]
        gr.Button(visible=False).click(
            self.answer, scripted, gr.JSON(visible=False), api_name="compare", **LANE
        )
        pair = f"{self.start['baseline']},{self.start['candidate']}"
        scripting.endpoint(self.work.analyzer, self.inputs["image"], pair)

    def answer(
        self, image: str, baseline: str, candidate: str, attack: str, cam: str
    ) -> dict[str, Any]:
        """For scripts through gradio_client: as REST answers, at all strengths of the slider."""
        chosen = {"image": image, "baseline": baseline, "candidate": candidate}
        values = self.start | chosen | {"attack": attack, "cam": cam, "layer": None}
        return self.work.answer(values)

    def masked(self, data: dict[Any, Any], progress: gr.Progress = PROGRESS) -> list[Any]:
        """Attack each model with the other's picture and with Square, at the ε that is shown."""
        values = self.answers.values(data)
        try:
            analysis = self.work.look(values)
            found = masking.compare(
                self.work.analyzer,
                analysis,
                self.work.view(analysis, values).index,
                lambda done, what: progress(done, desc=what),
            )
        except NLSLabError as error:
            return [message(str(error), wrong=True), gr.skip()]
        return ["", masking_html.result(found)]

    def pick_example(self, family: str, event: gr.SelectData) -> str:
        """The path of the clicked example."""
        return str(self.work.of_family(family)[int(event.index)].path)

    def export(self, kind: str, data: dict[Any, Any]) -> Any:
        """Write the analysis at hand to a file that the browser downloads."""
        values = self.answers.values(data)
        analysis = self.work.analyze(values)
        marked = self.focus.marked(data[self.focus.paint])
        return gr.File(str(self.work.export(kind, analysis, values, marked)), visible=True)
