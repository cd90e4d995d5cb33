"""Charts that are drawn as they come into sight: Plotly takes half a second of a core for each.

What is below the fold costs nobody anything until somebody scrolls there. The place is kept, so
that nothing moves that is in sight.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr

from nls_core.web.pages.widgets import PRIVATE

WAITING = "nls-waiting"  # the class of what holds such charts; static/style.css keeps their place
AHEAD = 200  # pixels before they are in sight
# answers once the place is near; several outputs take a list
_SHOWN = """() => new Promise((shown) => {
  const near = new IntersectionObserver((found) => {
    if (!found.some((each) => each.isIntersecting)) return;
    near.disconnect();
    shown(%s);
  }, {rootMargin: '%dpx'});
  near.observe(document.getElementById('%s'));
})"""


def when_in_sight(page: gr.Blocks, place: str, charts: Sequence[gr.Plot]) -> None:
    """Show charts, made with `visible=False`, once their place is nearly in sight.

    Args:
        page: whose event `load` waits for it.
        place: id of what holds them, which has the class `WAITING`.
        charts: two or more.
    """
    updates = json.dumps([{"__type__": "update", "visible": True} for _ in charts])
    page.load(None, None, list(charts), js=_SHOWN % (updates, AHEAD, place), **PRIVATE)
