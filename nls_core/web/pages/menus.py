"""The controls of Compare as components, and what fills them for a family."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from nls_core.analysis.requests import MAX_MODELS, MAX_STEPS
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.views import cards, names
from nls_core.views.glossary import ATTACK_TERMS, term
from nls_core.views.stories import STORIES
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.controls import AUTOMATIC, AWAY, Values, epsilon_slider
from nls_core.web.pages.widgets import explained, gallery, pictures, script, slider, upload

# by another family
REFILLED = ("baseline", "candidate", "attack", "epsilon", "layer", "target", "towards", "more")
MORE = MAX_MODELS - 2  # beside baseline and candidate
TOLD = ("baseline", "candidate", "attack", "epsilon")  # by a story
WORDS = ("normalized-labels", "partial-convolution", "ece", "temperature", "pgd", "fgsm")


def attack_menu() -> list[tuple[str, str]]:
    """(what the menu shows, name) of every attack; weak ones are called so."""
    return [(f"{name} (weak)" if a.weak else name, name) for name, a in ATTACKS.items()]


def about(attack: str) -> str:
    """What an attack does, and its term where it has one, as HTML."""
    told = term(ATTACK_TERMS[attack], attack) if attack in ATTACK_TERMS else escape(attack)
    return f'<p class="nls-about"><b>{told}</b>: {escape(ATTACKS[attack].meaning)}</p>'


class Menus:
    """Makes the components; `inputs` holds them by name, in the order in which they are made."""

    def __init__(self, compare: Compare, inputs: dict[str, Any], start: Values) -> None:
        self.work, self.inputs, self.start = compare, inputs, start

    def pictures(self) -> None:
        """The upload and the examples."""
        settings = self.work.analyzer.settings
        gr.HTML('<h2 class="nls-cue">Your picture, or an example</h2>')
        with gr.Row(elem_id="pictures"):
            self.inputs["image"] = upload(
                self.start["image"],
                label="Your picture",
                show_label=False,
                height=190,
                elem_id="upload",
            )
            self.gallery = gallery(self.examples(self.start["family"]), settings)
        self.stories = gr.HTML(
            self.told(self.start["family"]),
            js_on_load=script(settings, "pick.js"),
            elem_id="stories",
        )
        gr.HTML(
            f'<span data-bytes="{settings.max_upload_bytes}" data-pixels="{settings.max_pixels}">'
            "</span>",
            js_on_load=script(settings, "shrink.js"),
        )

    def examples(self, family: str) -> str:
        """The examples of a family, as the gallery shows them."""
        return pictures([(e.path, e.title) for e in self.work.of_family(family)])

    def told(self, family: str) -> str:
        """A button for each story of a family, HTML."""
        buttons = "".join(
            f'<button type="button"><b>{escape(STORIES[each.kind])}</b> <span>{escape(text)}</span>'
            "</button>"
            for each, text in self.work.stories(family)
        )
        return f'<div role="toolbar" aria-label="Stories">{buttons}</div>' if buttons else ""

    def tell(self, family: str, event: gr.SelectData) -> list[Any]:
        """What `TOLD` hold in a story: the opening pair, the attack, its strength; its picture."""
        chosen, _ = self.work.stories(family)[int(event.index)]
        start = self.work.start(family)
        offered = epsilon_slider(start["baseline"], start["attack"], chosen.epsilon)
        values = [start["baseline"], start["candidate"], start["attack"]]
        return [*values, gr.update(**offered), str(chosen.example)]

    def _menu(self, name: str, label: str, choices: list[Any], **more: Any) -> None:
        self.inputs[name] = gr.Dropdown(choices, value=self.start[name], label=label, **more)

    def strength(self) -> None:
        """The attack and ε, which stay in sight above what they change."""
        start = self.start
        with gr.Row(elem_id="strength-row"):
            self._menu("attack", "Attack", attack_menu(), min_width=110, elem_id="attack")
            offered = epsilon_slider(start["baseline"], start["attack"], start["epsilon"])
            self.inputs["epsilon"] = slider(
                **offered, elem_id="epsilon", scale=4, min_width=180, buttons=[]
            )

    def models(self) -> None:
        """Which models are compared, and which map shows where they look."""
        start, families = self.start, list(self.work.families)
        ids = names.menu(self.work.ids(start["family"]))
        self._menu("family", "Family", families, visible=len(families) > 1)
        self._menu("baseline", "Baseline", ids)
        self._menu("candidate", "Candidate", ids)
        self._menu("more", "More models", ids, multiselect=True, max_choices=MORE)
        self._menu("cam", "Activation map", list(CAMS))
        self._menu("target", "Map explains class", self.work.targets(start["baseline"]))
        gr.HTML(explained("What is … " + " ".join(term(key) for key in WORDS)))

    def advanced(self) -> None:
        """What few people change."""
        start = self.start
        self._menu("towards", "Attack leads", self.work.ways(start["baseline"]))
        self._menu("layer", "Target layer", list(self.work.analyzer.layers(start["baseline"])))
        self.inputs["scale"] = gr.Radio(
            [(text, name) for name, text in cards.SCALES.items()],
            value=start["scale"],
            label="Colour scale of the maps",
            elem_id="scale",
        )
        self.inputs["steps"] = slider(
            1, MAX_STEPS, value=start["steps"], step=1, label="Attack steps"
        )
        # its range is checked with the request: Gradio would answer with a bare 'Error'
        self.inputs["seed"] = gr.Number(start["seed"], label="Seed", precision=0)

    def refill(self, family: str) -> list[Any]:
        """Updates of the gallery, the stories and `REFILLED` for another family."""
        start = self.work.start(family)
        ids = names.menu(self.work.ids(family))
        layers = list(self.work.analyzer.layers(start["baseline"]))
        return [
            self.examples(family),
            self.told(family),
            gr.update(choices=ids, value=start["baseline"]),
            gr.update(choices=ids, value=start["candidate"]),
            gr.update(value=start["attack"]),
            gr.update(**epsilon_slider(start["baseline"], start["attack"], start["epsilon"])),
            gr.update(choices=layers, value=start["layer"]),
            gr.update(choices=self.work.targets(start["baseline"]), value=AUTOMATIC),
            gr.update(choices=self.work.ways(start["baseline"]), value=AWAY),
            gr.update(choices=ids, value=start["more"]),
        ]
