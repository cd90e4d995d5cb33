"""The page *Compare*: its components and events around `compare_work.Compare`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nls_core.analysis import masking
from nls_core.analysis.requests import MAX_STEPS
from nls_core.analysis.results import Analysis
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.errors import NLSLabError
from nls_core.views import masking_html, panels
from nls_core.web.pages import navigation, scripting
from nls_core.web.pages.answers import Answers, chart
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.controls import AUTOMATIC, Values, epsilon_slider
from nls_core.web.pages.painting import FocusPanel
from nls_core.web.pages.sharing import REFILLED, Sharing
from nls_core.web.pages.widgets import (
    LANE,
    LOOK,
    PRIVATE,
    PROGRESS,
    explained,
    gallery,
    intro,
    message,
    upload,
)

COMPUTING = ("baseline", "candidate", "attack", "cam", "target", "layer", "steps", "seed")
TITLE = "What do normalized soft labels do to an image classifier?"
INTRO = """Choose a picture and compare where two models look, how sure they are, whether that is
deserved, and what a little noise does."""
ABOUT_MASKING = explained(
    "Attacks each model, at the ε that is shown, with the other's attacked picture and with Square "
    f"({masking.QUERIES} queries, no gradient): does it withstand noise, or hide its gradient?"
)
FOLD = """() => { if (window.innerWidth < 640) {
  document.querySelector('#controls > button.open')?.click(); } }"""


def attack_menu() -> list[tuple[str, str]]:
    """(what the menu shows, name) of every attack; weak ones are called so."""
    return [(f"{name} (weak)" if a.weak else name, name) for name, a in ATTACKS.items()]


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
            navigation.header(navigation.HOME_TITLE)
            intro(TITLE, INTRO)
            with gr.Row(elem_id="main"):
                with gr.Column(scale=1, min_width=300):
                    self._pictures(start)
                    with gr.Accordion("Models, attack and map", open=True, elem_id="controls"):
                        self._controls(start)
                        with gr.Accordion("Advanced", open=False):
                            self._advanced(start)
                with gr.Column(scale=3, min_width=320):
                    self.message = gr.HTML(
                        "".join(message(text, wrong=True) for text in wrong), elem_id="message"
                    )
                    shown = compare.show(first, start) if first else ["", None, None, None, ""]
                    self.sharing.notice()
                    self._results(shown, first)
            self._listen(opens=first is None)

    # --- what is on the page -------------------------------------------------------------

    def _pictures(self, start: Values) -> None:
        gr.HTML("<p class=nls-cue>Your picture, or click an example</p>")
        self.inputs["image"] = upload(
            start["image"], label="Your picture", show_label=False, height=210, elem_id="upload"
        )
        self.gallery = gallery(self._gallery(start["family"]))

    def _gallery(self, family: str) -> list[tuple[str, str]]:
        return [(str(e.path), e.title) for e in self.work.of_family(family)]

    def _menu(self, name: str, label: str, choices: list[Any], start: Values, **more: Any) -> None:
        self.inputs[name] = gr.Dropdown(choices, value=start[name], label=label, **more)

    def _controls(self, start: Values) -> None:
        families = list(self.work.families)
        ids = self.work.ids(start["family"])
        self._menu("family", "Family", families, start, visible=len(families) > 1)
        self._menu("baseline", "Baseline", ids, start)
        self._menu("candidate", "Candidate", ids, start)
        self._menu("attack", "Attack", attack_menu(), start)
        slider = epsilon_slider(start["baseline"], start["attack"], start["epsilon"])
        self.inputs["epsilon"] = gr.Slider(**slider, elem_id="epsilon")
        self._menu("cam", "Activation map", list(CAMS), start)
        targets = self.work.targets(start["baseline"])
        self._menu("target", "Map explains class", targets, start)

    def _advanced(self, start: Values) -> None:
        layers = list(self.work.analyzer.layers(start["baseline"]))
        self._menu("layer", "Target layer", layers, start)
        self.inputs["scale"] = gr.Radio(
            [(text, name) for name, text in panels.SCALES.items()],
            value=start["scale"],
            label="Colour scale of the maps",
        )
        self.inputs["steps"] = gr.Slider(
            1, MAX_STEPS, value=start["steps"], step=1, label="Attack steps"
        )
        self.inputs["seed"] = gr.Number(start["seed"], label="Seed", precision=0, minimum=0)

    def _results(self, shown: list[Any], first: Analysis | None) -> None:
        self.result = gr.HTML(shown[0], elem_id="result")
        self.ask = gr.Button("Masked or robust?", size="sm", elem_id="ask-masking")
        self.masking = gr.HTML(ABOUT_MASKING, elem_id="masking-verdict")
        self.focus = FocusPanel(self.work, first, self.start)
        gr.Markdown("### Confidence over ε (×: the clean label is lost)")
        self.sweep = gr.Plot(chart(shown[1]), show_label=False, min_width=300)
        gr.Markdown("### Is the confidence deserved? (red: the bin of this picture)")
        with gr.Row():
            self.reliability = [
                gr.Plot(chart(plot), show_label=False, min_width=300) for plot in shown[2:4]
            ]
        self.sharing.build(shown[4])

    # --- what happens --------------------------------------------------------------------

    def _listen(self, *, opens: bool) -> None:
        """What each control does; with `opens` the page analyzes once it is opened."""
        computed = self._on_controls()
        self.focus.listen(self.inputs, computed)
        self._on_masking(computed)
        self._on_choices()
        self._on_export(opens=opens)
        self._on_script()
        self.blocks.load(None, js=FOLD, **PRIVATE)  # on a phone the controls begin folded

    def _on_controls(self) -> Any:
        """Analyze or draw anew; returns the event of an analysis."""
        inputs = set(self.inputs.values())
        shown = [self.result, self.sweep, *self.reliability, self.sharing.numbers]
        computed = gr.on(
            [
                self.inputs["image"].change,
                self.sharing.restored.change,
                *(self.inputs[name].input for name in COMPUTING),
            ],
            self.answers.compute,
            inputs,
            [self.message, self.inputs["epsilon"], *shown],
            trigger_mode="always_last",
            **LANE,
            **PRIVATE,
        )
        moved = gr.on(
            [self.inputs["epsilon"].input, self.inputs["scale"].input],
            self.answers.show,
            inputs,
            [self.message, *shown],
            trigger_mode="always_last",
            show_progress="hidden",
            **LOOK,
            **PRIVATE,
        )
        # what takes longer follows by itself, and stops when something else is asked for
        for before in (computed, moved):
            self.sharing.after(before)
            before.then(
                self.answers.complete,
                inputs,
                [self.message, *shown],
                trigger_mode="multiple",  # one that is stopped may not have ended yet
                show_progress="hidden",
                **LANE,
                **PRIVATE,
            )
        return computed

    def _on_masking(self, computed: Any) -> None:
        """Answer the question about masking; clear an answer of another picture or ε."""
        inputs = set(self.inputs.values())
        self.ask.click(self.masked, inputs, [self.message, self.masking], **LANE, **PRIVATE)
        for stale in (computed.then, self.inputs["epsilon"].input):
            stale(lambda: ABOUT_MASKING, None, self.masking, show_progress="hidden", **PRIVATE)

    def _on_choices(self) -> None:
        """Take an example, or another family."""
        family, image = self.inputs["family"], self.inputs["image"]
        self.gallery.select(self.pick_example, family, image, **PRIVATE)
        # the picture comes last: its change computes, with what the menus then hold
        refilled = [self.gallery, *(self.inputs[name] for name in REFILLED)]
        family.input(self.pick_family, family, refilled, **PRIVATE).success(
            self.work.first_picture, family, image, **PRIVATE
        )

    def _on_export(self, *, opens: bool) -> None:
        self.sharing.opened(self.blocks.load, self.gallery, self.pick_family, opens=opens)
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

    def pick_family(self, family: str) -> list[Any]:
        """Fill the menus for another family."""
        start = self.work.start(family)
        ids = self.work.ids(family)
        layers = list(self.work.analyzer.layers(start["baseline"]))
        return [
            self._gallery(family),
            gr.update(choices=ids, value=start["baseline"]),
            gr.update(choices=ids, value=start["candidate"]),
            gr.update(value=start["attack"]),
            gr.update(**epsilon_slider(start["baseline"], start["attack"], start["epsilon"])),
            gr.update(choices=layers, value=start["layer"]),
            gr.update(choices=self.work.targets(start["baseline"]), value=AUTOMATIC),
        ]

    def export(self, kind: str, data: dict[Any, Any]) -> Any:
        """Write the analysis at hand to a file that the browser downloads."""
        values = self.answers.values(data)
        analysis = self.work.analyze(values)
        marked = self.focus.marked(data[self.focus.paint])
        return gr.File(str(self.work.export(kind, analysis, values, marked)), visible=True)
