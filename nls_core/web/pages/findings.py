"""The page *Findings*: each claim, its verdict, the chart, the table, the command."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import findings, over_epochs
from nls_core.evidence.findings import KEYS
from nls_core.evidence.verdicts import HOLDS, NOT, Finding
from nls_core.views import evidence_charts, html, run_charts
from nls_core.web.pages import contents, family_reports
from nls_core.web.pages.widgets import PRIVATE, intro, no_report

INTRO = """What the paper claims and what this project measured, on its own models: the verdict is
computed from the intervals of the report, and says so when a claim does not hold here."""
HERE = "/ui/findings"
CLASSES = {HOLDS: "nls-holds", NOT: "nls-not"}


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Findings", INTRO)
    names = family_reports.families(analyzer)
    if not names:
        no_report()
        return
    family = family_reports.menu(names)
    outputs: list[Any] = [gr.HTML(elem_id="verdicts")]
    for key in KEYS:
        with gr.Column() as place:
            outputs += [place, gr.HTML(elem_id=f"finding-{key}"), gr.Plot(show_label=False)]
            with gr.Accordion("Table and command", open=False):
                outputs.append(gr.HTML())
    work = partial(show, analyzer.settings.models_dir)
    shown = gr.on(None, work, family, outputs, show_progress="hidden", **PRIVATE)
    shown.then(None, js=contents.ARRIVE, **PRIVATE)
    begun = [gr.HTML(elem_id=f"finding-{findings.OVER_EPOCHS}"), gr.Plot(show_label=False)]
    with gr.Accordion("Table", open=False):
        begun.append(gr.HTML())
    courses = partial(show_courses, analyzer.settings.models_dir)
    gr.on(None, courses, None, begun, show_progress="hidden", **PRIVATE)


def show_courses(folder: Path) -> list[Any]:
    """When networks become overconfident, of all families: text, chart and table."""
    courses = over_epochs.read(folder)
    if not courses:
        return [gr.skip(), gr.update(visible=False), gr.skip()]
    why = escape(over_epochs.sentence(courses)).replace("`", "")
    head = f"<h2>{over_epochs.TITLE}</h2><p class=nls-explain>{why}</p>"
    return [
        f'<div class="nls-finding">{head}</div>',
        run_charts.over_epochs(courses),
        html.table(over_epochs.table(courses)),
    ]


def show(folder: Path, family: str) -> list[Any]:
    """The overview, then of each of `KEYS` whether it is shown, its text, chart and table."""
    data = family_reports.load(family, folder)
    found = {each.key: each for each in findings.all_of(data.evidence)}
    parts: list[Any] = [overview(list(found.values()))]
    for key in KEYS:
        if key not in found:
            parts += [gr.update(visible=False), *[gr.skip()] * 3]
            continue
        each = found[key]
        command = f"<p class=nls-explain>Command: <code>{escape(each.command)}</code></p>"
        chart = evidence_charts.OF_FINDING[key](data.evidence, data.runs)
        table = html.table(each.table) + command
        parts += [gr.update(visible=True), text(each), chart, table]
    return parts


def badge(finding: Finding) -> str:
    """The verdict as a coloured word."""
    kind = CLASSES.get(finding.verdict, "nls-partly")
    return f'<span class="nls-badge {kind}">{escape(finding.verdict)}</span>'


def overview(found: list[Finding]) -> str:
    """All claims with their verdicts, as links."""
    rows = ((f"finding-{each.key}", each.claim, f" {badge(each)}") for each in found)
    return contents.listed("Claims", HERE, rows)


def text(finding: Finding) -> str:
    """The claim, the verdict and why."""
    why = escape(finding.text).replace("`", "")
    return (
        f'<div class="nls-finding"><h2>{escape(finding.claim)} {badge(finding)}</h2>'
        f'<p class=nls-explain>{why} <a href="{HERE}#contents">All claims ↑</a></p></div>'
    )
