"""What lies over Compare: pictures in large, the texts of terms, the tour, a voice for changes."""

from __future__ import annotations

import gradio as gr

from nls_core.settings import Settings
from nls_core.views import glossary
from nls_core.web.pages.widgets import script

# what each step is about (a selector), and its text
TOUR = (
    (
        ".nls-cards",
        "Two models look at one picture. Left the usual one, right one trained with normalized "
        "soft labels: what they say of the clean picture, and of one that was attacked.",
    ),
    (
        "#strength",
        "Move ε, the strength of the attack. All pictures below follow. The smallest that changes "
        "an answer stands on each card: Turns at.",
    ),
    (
        ".nls-gauges",
        "Deserved? compares how sure a model is with how often it was right on test pictures "
        "of which it was as sure.",
    ),
    (
        "#pictures",
        "Now your own picture: upload, paste or photograph one, or take an example. Words with a "
        "dotted line explain themselves.",
    ),
)
DIALOG = """<dialog id="nls-large" aria-label="Picture in large"><figure class="stage">
<img class="under" alt=""><img class="over" alt=""></figure>
<label class="wipe">clean <input type="range" min="0" max="100" value="50"
aria-label="Wipe between the clean and the attacked picture"> attacked</label><p></p>
<p class="values"></p>
<button type="button">Close</button></dialog>"""
LIVE = '<p id="nls-live" class="nls-unseen" role="status" aria-live="polite"></p>'


def frames(settings: Settings) -> gr.HTML:
    """What static/explore.js works with: its value is `panels.frames`, which nobody sees."""
    gr.HTML(
        DIALOG + glossary.definitions() + LIVE,
        js_on_load=script(settings, "values.js"),
        elem_classes="nls-over",
    )
    return gr.HTML(
        "",
        html_template="<span></span>",
        js_on_load=script(settings, "explore.js"),
        elem_classes="nls-over",
    )


def tour(settings: Settings) -> None:
    """Four steps on a first visit, and the button that shows them again."""
    steps = "".join(f'<li data-at="{at}" hidden>{text}</li>' for at, text in TOUR)
    gr.HTML(
        '<footer class="nls-foot"><button type="button" class="nls-link" data-tour="open">Show the '
        'tour again</button></footer><div class="nls-tour" popover="manual" role="dialog" '
        f'aria-label="A short tour"><ol>{steps}</ol><div class="tools"><span class="count"></span>'
        '<button type="button" data-tour="close">Skip</button><button type="button" '
        'data-tour="back">Back</button><button type="button" data-tour="next">Next</button></div>'
        "</div>",
        js_on_load=script(settings, "tour.js"),
    )
