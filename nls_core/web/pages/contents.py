"""What is on a long page, as a list of links at its top, and the headings that they lead to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

import gradio as gr

# a link to a part arrives before what stands above the part; once, not at each choice
ARRIVE = """() => { const place = location.hash && document.getElementById(location.hash.slice(1));
  if (place && !window.nlsArrived) requestAnimationFrame(() => place.scrollIntoView());
  window.nlsArrived = true; }"""


@dataclass(frozen=True)
class Contents:
    """The parts of a page: `place` is its address, `titles` has their names by id."""

    place: str
    titles: Mapping[str, str]

    def show(self) -> gr.HTML:
        """Make the list."""
        parts = ((key, title, "") for key, title in self.titles.items())
        return gr.HTML(listed("On this page", self.place, parts))

    def heading(self, key: str) -> gr.HTML:
        """Make the heading of a part."""
        return gr.HTML(f'<h2 class="nls-part" id="{key}">{escape(self.titles[key])}</h2>')


def listed(label: str, place: str, parts: Iterable[tuple[str, str, str]]) -> str:
    """Links to parts of a page, as HTML; `navigation.REVEAL` lets them scroll.

    Args:
        label: what the list is of.
        place: the page's address, whole, since Gradio's pages have a base address.
        parts: id and title of each, and HTML that follows its link.
    """
    rows = "".join(
        f'<li><a href="{place}#{key}">{escape(title)}</a>{more}</li>' for key, title, more in parts
    )
    return f'<nav class="nls-contents" aria-label="{label}"><ul id="contents">{rows}</ul></nav>'
