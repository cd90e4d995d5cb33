"""The pages beside Compare, their addresses, and the header that leads from one to another.

A page is a function that makes its components inside an open Blocks context. It runs once, when
the app starts, so it computes nothing: `gr.on(None, compute, inputs, outputs)` does, when a
person opens the page and when an input changes.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import gradio as gr
import structlog

from nls_core.analysis.analyzer import Analyzer
from nls_core.errors import NLSLabError, brief
from nls_core.web.pages import (
    batch,
    calibration,
    features,
    findings,
    loss_lab,
    maps,
    robustness,
    training,
)
from nls_core.web.pages.widgets import PRIVATE, message

log = structlog.get_logger("nls_core")

HOME = "/ui/"
HOME_TITLE = "Compare"
# title -> what builds the page; their order is that of the navigation
PAGES: dict[str, Callable[[Analyzer], None]] = {
    "Batch": batch.build,
    "Calibration": calibration.build,
    "Robustness": robustness.build,
    "Maps": maps.build,
    "Training": training.build,
    "Features": features.build,
    "Loss lab": loss_lab.build,
    "Findings": findings.build,
}
# on a phone the navigation scrolls sideways: bring the current page into view
REVEAL = """() => { const nav = document.querySelector('.nls-nav'),
  here = nav?.querySelector('[aria-current]');
  if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2; }"""


def slug(title: str) -> str:
    """A page's part of the address, e.g. 'loss-lab' of /ui/loss-lab."""
    return title.lower().replace(" ", "-")


def header(current: str, skip: str = "") -> gr.HTML:
    """The app's name and links to all pages, `current` (a title) marked.

    `skip` is a selector to which a first, hidden link leads.
    """
    places = {HOME_TITLE: HOME} | {title: f"/ui/{slug(title)}" for title in PAGES}
    places["API"] = "/docs"
    links = "".join(
        f'<a href="{place}"{" aria-current=page" if title == current else ""}>{escape(title)}</a>'
        for title, place in places.items()
    )
    first = f'<a class="nls-skip" href="{skip}">Skip to the comparison</a>' if skip else ""
    return gr.HTML(
        f'{first}<header class="nls-head"><a class="nls-brand" href="{HOME}">NLS Lab</a>'
        f'<nav class="nls-nav" aria-label="Pages">{links}</nav></header>'
    )


def _build(title: str, build: Callable[[Analyzer], None], analyzer: Analyzer) -> None:
    """Build a page; where its data are damaged, say so on it, and let the others be served."""
    try:
        build(analyzer)
    except (NLSLabError, LookupError, TypeError, ValueError, AttributeError) as error:
        log.error("page_unusable", page=title, why=brief(repr(error)))
        # what a report lacks is found where it is read, as nearly anything
        why = str(error) if isinstance(error, NLSLabError) else "its report lacks entries"
        gr.HTML(message(f"This page cannot be shown: {why}.", wrong=True))


def add(blocks: gr.Blocks, analyzer: Analyzer) -> None:
    """Add all of `PAGES` to the Blocks of the Compare page, at /ui/<slug>.

    Gradio's own navigation is hidden by the style sheet: ours also leads to the API.
    """
    for title, build in PAGES.items():
        with blocks.route(title, slug(title)):
            header(title)
            _build(title, build, analyzer)
            blocks.load(None, js=REVEAL, **PRIVATE)
