"""The page *Findings*: each claim, its verdict, the chart, the table, the command."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import findings, over_epochs
from nls_core.evidence.findings import FINDINGS
from nls_core.evidence.verdicts import HOLDS, NOT, Evidence, Finding
from nls_core.families import protocol_of
from nls_core.views import evidence_charts, html, run_charts
from nls_core.web.pages import family_reports
from nls_core.web.pages.widgets import PRIVATE, intro, no_report

INTRO = """What the paper claims and what this project measured, on its own models: the verdict is
computed from the intervals of the report, and says so when a claim does not hold here."""
HERE = "/ui/findings"  # whole, since Gradio's pages have a base address
CLASSES = {HOLDS: "nls-holds", NOT: "nls-not"}


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Findings", INTRO)
    names = family_reports.families(analyzer, judged)
    if not names:
        no_report()
        return
    family = family_reports.menu(names)
    outputs: list[Any] = [gr.HTML(elem_id="verdicts")]
    for key in FINDINGS:
        outputs += _places(key)
    with gr.Column(visible=False) as aberrant:
        outputs += [aberrant, *_places(findings.ABERRATIONS)]
    work = partial(show, analyzer.settings.models_dir)
    gr.on(None, work, family, outputs, show_progress="hidden", **PRIVATE)
    begun = [gr.HTML(elem_id=f"finding-{findings.OVER_EPOCHS}"), gr.Plot(show_label=False)]
    with gr.Accordion("Table", open=False):
        begun.append(gr.HTML())
    courses = partial(show_courses, analyzer.settings.models_dir)
    gr.on(None, courses, None, begun, show_progress="hidden", **PRIVATE)


def _places(key: str) -> list[Any]:
    """Where a finding's text, chart and table go."""
    places = [gr.HTML(elem_id=f"finding-{key}"), gr.Plot(show_label=False)]
    with gr.Accordion("Table and command", open=False):
        places.append(gr.HTML())
    return places


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


def judged(evidence: Evidence) -> bool:
    """Whether the claims are about what a family's report holds."""
    return protocol_of(evidence.family) in findings.JUDGED


def show(folder: Path, family: str) -> list[Any]:
    """All findings: the overview, then text, chart and table of each.

    Those of the claim about aberrant data come last, behind whether it was measured.
    """
    data = family_reports.load(family, folder)
    found = findings.all_of(data.evidence)
    parts: list[Any] = [overview(found)]
    for each in found:
        if each.key == findings.ABERRATIONS:
            parts.append(gr.update(visible=True))
        command = f"<p class=nls-explain>Command: <code>{escape(each.command)}</code></p>"
        chart = evidence_charts.OF_FINDING[each.key](data.evidence, data.runs)
        parts += [text(each), chart, html.table(each.table) + command]
    if found[-1].key != findings.ABERRATIONS:
        parts += [gr.update(visible=False), *[gr.skip()] * 3]
    return parts


def badge(finding: Finding) -> str:
    """The verdict as a coloured word."""
    kind = CLASSES.get(finding.verdict, "nls-partly")
    return f'<span class="nls-badge {kind}">{escape(finding.verdict)}</span>'


def overview(found: list[Finding]) -> str:
    """All claims with their verdicts, as links."""
    rows = "".join(
        f'<li><a href="{HERE}#finding-{each.key}">{escape(each.claim)}</a> {badge(each)}</li>'
        for each in found
    )
    return f'<ul class="nls-claims">{rows}</ul>'


def text(finding: Finding) -> str:
    """The claim, the verdict and why."""
    why = escape(finding.text).replace("`", "")
    return (
        f'<div class="nls-finding"><h2>{escape(finding.claim)} {badge(finding)}</h2>'
        f"<p class=nls-explain>{why}</p></div>"
    )
