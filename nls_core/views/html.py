"""Pieces of HTML that pages and exports share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def document(title: str, css: str, body: str) -> str:
    """A self-contained page of HTML `body`; the title is plain text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css}</style></head>"
        f'<body class="nls-page">{body}</body></html>'
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways where it is too wide; the first row is the head."""
    head, *body = ([escape(cell) for cell in row] for row in rows)
    first = "".join(f"<th>{cell}</th>" for cell in head)
    rest = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in body)
    return f'<div class="nls-table" tabindex="0"><table><tr>{first}</tr>{rest}</table></div>'
