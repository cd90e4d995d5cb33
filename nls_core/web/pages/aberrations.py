"""A part of the page *Training*: what wrong labels and long tails do to each loss."""

from __future__ import annotations

from functools import partial
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr

from nls_core.evidence import aberration_claim, aberrations, commands
from nls_core.families import FAMILIES
from nls_core.views import evidence_charts, html, run_charts
from nls_core.web.pages.contents import Contents
from nls_core.web.pages.widgets import PRIVATE, explained, note

PARTS = {"aberrations": "Wrong labels and long tails"}
READ = """<b>How it is read.</b> Networks learnt from labels of which a share is wrong (any other
class; asymmetric: the class that it resembles), or from fewer images of each later class, the
last having 1/10 or 1/100 of the first. Validation has the same faults and chooses nothing: figures
are of the last epoch, on clean test labels, with 95 % intervals over seeds and images."""
NOISE, TAIL = "Wrong labels in %", "Imbalance: 10 to the power of"


def part(models_dir: Path, family: gr.Dropdown, name: str) -> None:
    """Make the components; `family` is the page's menu, which opens with the family `name`."""
    with gr.Column(visible=declared(name)) as box:
        Contents("/ui/training", PARTS).heading("aberrations")
        note(READ)
        with gr.Row():
            group = gr.Radio([], label="Data", elem_id="aberration")
            level = gr.Slider(0, 1, step=1, label=NOISE, elem_id="aberration-level")
        words = gr.HTML(elem_id="aberration-words")
        with gr.Row():
            plots = [gr.Plot(show_label=False, min_width=300, visible=False) for _ in range(2)]
        table = gr.HTML(elem_id="aberration-table")
    hidden: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
    begun = partial(begin, models_dir)
    gr.on(None, begun, family, [box, group, level, words, *plots, table], **hidden)
    group.input(partial(turn, models_dir), [family, group], [level, words, *plots, table], **hidden)
    level.input(
        partial(show, models_dir),
        [family, group, level],
        [words, *plots, table],
        trigger_mode="always_last",
        **hidden,
    )


def declared(family: str) -> bool:
    """Whether a family is to be trained on aberrant data."""
    return family in FAMILIES and FAMILIES[family].aberrations is not None


def begin(models_dir: Path, family: str) -> list[Any]:
    """Whether there is anything to show of a family; its menus, and what they begin with."""
    record = aberrations.read(family, models_dir)
    box = gr.update(visible=bool(record) or declared(family))
    if not record:
        command = escape(commands.aberrations(family))
        words = explained(f"Not measured yet; <code>{command}</code> trains and measures it.")
        hidden = gr.update(visible=False)
        return [box, hidden, hidden, words, hidden, hidden, ""]
    names = list(record["groups"])
    menu = gr.update(choices=names, value=names[0], visible=True)
    return [box, menu, *turn(models_dir, family, names[0])]


def turn(models_dir: Path, family: str, group: str) -> list[Any]:
    """The slider of a group of conditions, and what it begins with: the first that is not clean."""
    record = aberrations.read(family, models_dir)
    places = _levels(record, group)
    steps = sorted(places)
    slider = gr.update(
        minimum=steps[0],
        maximum=steps[-1],
        step=min(b - a for a, b in pairwise(steps)),
        value=steps[1],
        label=TAIL if "imbalance" in record["conditions"][places[steps[-1]]] else NOISE,
        visible=True,
    )
    return [slider, *show(models_dir, family, group, steps[1])]


def _levels(record: dict[str, Any], group: str) -> dict[float, str]:
    """Level -> the name of the condition there."""
    found = record["conditions"]
    return {round(aberrations.level(found[name]), 6): name for name in record["groups"][group]}


def show(models_dir: Path, family: str, group: str, level: float) -> list[Any]:
    """What was measured at a level: words, accuracy and ECE of every cell over the group, table."""
    record = aberrations.read(family, models_dir)
    places = _levels(record, group)
    name = places[min(places, key=lambda each: abs(each - level))]
    condition = record["conditions"][name]
    if not condition["cells"]:
        command = escape(str(record["command"]))
        words = explained(
            f"<b>{escape(name)}</b> is not measured yet; <code>{command}</code> goes on."
        )
        return [words, *[gr.update(visible=False)] * 2, ""]
    cells = condition["cells"]
    dots = evidence_charts.by_cell(cells, "accuracy", f"accuracy after {name}")
    lines = run_charts.aberrations(record, "ece", group)
    plots = [gr.update(value=each, visible=True) for each in (dots, lines)]
    missing = [n for n, each in record["conditions"].items() if not each["cells"]]
    rest = f" Not measured yet: {', '.join(missing)}." if missing else ""
    words = explained(
        f"<b>{escape(name)}</b>, {aberrations.basis(record)}, "
        f"{record['data']['test_images']:,} clean test images.{escape(rest)}"
    )
    rows = aberration_claim.rows(condition)
    return [words, *plots, html.table([aberration_claim.HEAD[1:], *rows])]
