"""The pages beside Compare, their addresses, and the header that leads from one to another.

A page is a function that makes its components inside an open Blocks context. It runs once, when
the app starts, so it computes nothing: `gr.on(None, compute, inputs, outputs)` does, when a
person opens the page and when an input changes.
"""

from __future__ import annotations

import json
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
from nls_core.web.pages.heads import head
from nls_core.web.pages.widgets import PRIVATE, message, script

log = structlog.get_logger("nls_core")

HOME = "/ui/"
HOME_TITLE = "Compare"
API = "API"
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
# what a page is for, in link previews and search results
ABOUT: dict[str, str] = {
    HOME_TITLE: "Compare where two image classifiers look, how sure they are, whether that is "
    "deserved, and what a little noise does.",
    "Batch": "Many pictures through some models: predictions, confidence, flip points, accuracy.",
    "Calibration": "Is the confidence of a classifier deserved? Reliability diagrams, "
    "temperature, recalibration, prediction sets.",
    "Robustness": "Every attack on every model, transfer, and signs of gradient masking.",
    "Maps": "How well activation maps lie on the objects, clean and attacked.",
    "Training": "Curves, convergence, and the search of learning rates.",
    "Features": "Which test images the last layers of two models find similar.",
    "Loss lab": "Every loss and its gradient, and what partial padding does at the edges.",
    "Findings": "What the paper claims, and what was measured here: each claim with its verdict.",
}
# a link to a part of the page scrolls there, whatever else is in the address;
# on a phone the navigation scrolls sideways: bring the current page into view; a theme that was
# asked for goes along; Gradio gives all pages one title
REVEAL = """() => { const nav = document.querySelector('.nls-nav'),
  here = nav?.querySelector('[aria-current]');
  if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
  const theme = new URLSearchParams(location.search).get('__theme');
  if (theme) for (const link of document.querySelectorAll('.nls-head a')) {
    const url = new URL(link.href); url.searchParams.set('__theme', theme); link.href = url; }
  for (const own of document.querySelectorAll('button[aria-label*="upload" i]'))
    if (own.innerText.trim()) own.removeAttribute('aria-label');  // its text says the same
  document.addEventListener('click', event => {
    const link = event.target.closest?.('a[href*="#"]:not(.nls-skip)');
    const part = link?.pathname === location.pathname
      && document.getElementById(link.hash.slice(1));
    if (!part) return;
    event.preventDefault();
    part.scrollIntoView();
    part.tabIndex = -1;
    part.focus({preventScroll: true});
    history.replaceState(history.state, '', location.pathname + location.search + link.hash); });
  document.title = TITLE; }"""


def slug(title: str) -> str:
    """A page's part of the address, e.g. 'loss-lab' of /ui/loss-lab."""
    return title.lower().replace(" ", "-")


def reveal(title: str) -> str:
    """JavaScript for the opening of a page."""
    return REVEAL.replace("TITLE", json.dumps(full_title(title)))


def full_title(title: str) -> str:
    """A page's title as tabs show it."""
    return "NLS Lab" if title == HOME_TITLE else f"{title} - NLS Lab"


def heads() -> dict[str, str]:
    """Path below /ui -> the tags of its head."""
    titles = {"/": HOME_TITLE, "": HOME_TITLE} | {f"/{slug(title)}": title for title in PAGES}
    return {
        place: head(full_title(title), ABOUT.get(title, title)) for place, title in titles.items()
    }


def places() -> dict[str, str]:
    """The title of each page -> its path, in the order of the links."""
    pages = {title: f"/ui/{slug(title)}" for title in PAGES}
    return {HOME_TITLE: HOME} | pages | {API: "/docs"}


def header(current: str, skip: str = "") -> gr.HTML:
    """`header_html` as a component."""
    return gr.HTML(header_html(current, skip))


def header_html(current: str, skip: str = "") -> str:
    """The app's name and links to all pages, `current` (a title) marked.

    `skip` is a selector to which a first, hidden link leads.
    """
    links = "".join(
        f'<a href="{place}"{" aria-current=page" if title == current else ""}>{escape(title)}</a>'
        for title, place in places().items()
    )
    first = f'<a class="nls-skip" href="{skip}">Skip to the comparison</a>' if skip else ""
    return (
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


def _charts(analyzer: Analyzer) -> None:
    """What gives the charts of a page their texts and their PNG."""
    made = script(analyzer.settings, "charts.js")
    gr.HTML("", html_template="<span></span>", js_on_load=made, elem_classes="nls-over")


def add(blocks: gr.Blocks, analyzer: Analyzer) -> None:
    """Add all of `PAGES` to the Blocks of the Compare page, at /ui/<slug>.

    Gradio's own navigation is hidden by the style sheet: ours also leads to the API.
    """
    with blocks:
        _charts(analyzer)
        blocks.load(None, js=reveal(HOME_TITLE), **PRIVATE)
    for title, build in PAGES.items():
        with blocks.route(title, slug(title)):
            header(title)
            _charts(analyzer)
            _build(title, build, analyzer)
            blocks.load(None, js=reveal(title), **PRIVATE)
