"""The page *Maps*: do activation maps lie on the object, clean and under attack?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import out_of_fold_report, report
from nls_core.families import FAMILIES, OUT_OF_FOLD, protocol_of
from nls_core.views import html, mask_charts
from nls_core.views.mask_charts import SCORES, STATES
from nls_core.web.pages import family_reports
from nls_core.web.pages.widgets import PRIVATE, explained, intro, message, note

INTRO = """Where the pictures of a data set come with masks of their object, a map can be scored:
how much of it lies on the object? Every object is answered by a network that never saw it."""
READ = """<b>How it is read.</b> Bars are 95 % intervals over the objects ({objects} clean{attack}).
<i>Pointing game</i>: the map's highest point lies on the object (arXiv 1608.00507). <i>Energy
inside</i>: the share of the map that lies on it (arXiv 1910.01279). <i>Best IoU</i>: its overlap
with the mask at the best threshold. Photographers put objects in the middle, so look at the lines:
a map of the <i>centre</i> alone, a <i>random</i> one, and a <i>uniform</i> one, which gets the
object's share of the picture. Maps explain the class that the model names."""


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Maps", INTRO)
    names = family_reports.families(analyzer, family_reports.has("masks"))
    if not names:
        gr.HTML(message(nothing(), wrong=True))
        return
    folder = analyzer.settings.models_dir
    record = report.read(names[0], folder)
    methods = mask_charts.methods(record["cells"])
    with gr.Row():
        family = family_reports.menu(names)
        score = gr.Dropdown(list(SCORES), value=next(iter(SCORES)), label="Score")
        method = gr.Dropdown(methods, value=methods[0], label="Activation map")
    hidden: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
    with gr.Row():
        for state in STATES:
            plot = gr.Plot(show_label=False, min_width=300)
            gr.on(None, partial(_plot, folder, state), [family, score, method], plot, **hidden)
    read = note(how_to_read(names[0], record))
    worth = gr.HTML(summary(names[0], record), elem_id="out-of-fold")
    family.input(partial(other, folder), family, [method, read, worth], **hidden)


def nothing() -> str:
    """What makes scored maps where there are none."""
    able = {name: family for name, family in FAMILIES.items() if family.masks}
    commands = " or ".join(
        f"`nls data {family.recipe.dataset}`, then `nls train --grid {name}`"
        for name, family in able.items()
    )
    return f"There are no scored maps yet: {commands}, make them (an hour)."


def how_to_read(family: str, record: Any) -> str:
    """What the figures of a report rest on, as HTML."""
    known, attack = FAMILIES.get(family), ""
    if known and known.masks:
        masks = known.masks
        attack = (
            f", one in {masks.every} attacked: PGD, {masks.steps} steps, "
            f"ε = {255 * masks.epsilon:g}/255"
        )
    data = record["data"]  # of each object one rendering has its maps scored
    return READ.format(objects=data.get("objects", data["test_images"]), attack=attack)


def summary(family: str, record: Any) -> str:
    """What the models are worth, out of fold, as HTML; nothing for another protocol."""
    if protocol_of(family) != OUT_OF_FOLD:
        return ""
    table = html.table(out_of_fold_report.summary(record))
    return f"<p class=nls-cue>What these models are worth, out of fold</p>{table}"


def other(folder: Path, family: str) -> list[Any]:
    """Fill the menu of maps for another family, and say what its figures rest on."""
    record = report.read(family, folder)
    methods = mask_charts.methods(record["cells"])
    menu = gr.update(choices=methods, value=methods[0])
    return [menu, explained(how_to_read(family, record)), summary(family, record)]


def _plot(folder: Path, state: str, family: str, score: str, method: str) -> Any:
    cells = report.read(family, folder)["cells"]
    if method not in mask_charts.methods(cells):  # of another family, until the menu is filled
        return gr.skip()
    return mask_charts.chart(cells, state, method, score)
