"""The head of each page's HTML: its own title and description, for tabs and link previews.

Gradio's template names itself, and pictures outside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_THEIRS = re.compile(
    r'<meta\s+(?:property="og:[^"]*"|name="(?:twitter:|description)[^"]*")\s+content="[^"]*"\s*/?>'
    r"|<title>.*?</title>",
    re.DOTALL,
)


def head(title: str, description: str) -> str:
    """The tags of a page."""
    title, text = (escape(each, quote=True) for each in (title, description))
    return (
        f'<title>{title}</title><meta name="description" content="{text}">'
        f'<meta property="og:type" content="website"><meta property="og:site_name" '
        f'content="NLS Lab"><meta property="og:title" content="{title}">'
        f'<meta property="og:description" content="{text}">'
        '<meta name="twitter:card" content="summary">'
    )


class Heads:
    """ASGI around the mounted Gradio app: pages get their own head."""

    def __init__(self, app: ASGIApp, prefix: str, tags: Mapping[str, str]) -> None:
        """`tags`: path below `prefix` -> what `head` made."""
        self.app, self.tags = app, {prefix + path: text for path, text in tags.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        tags = self.tags.get(scope["path"]) if scope["type"] == "http" else None
        if tags is None or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body = bytearray()

        async def rewritten(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if message.get("more_body") or start is None:
                return
            data = bytes(body)
            if Headers(raw=start["headers"]).get("content-type", "").startswith("text/html"):
                data = with_head(data.decode("utf-8"), tags).encode()
                MutableHeaders(raw=start["headers"])["content-length"] = str(len(data))
            await send(start)
            await send({"type": "http.response.body", "body": data})

        await self.app(scope, receive, rewritten)


def with_head(page: str, tags: str) -> str:
    """A page with these tags instead of the template's."""
    before, opening, rest = page.partition("<head>")
    inside, closing, after = rest.partition("</head>")
    return f"{before}{opening}{tags}{_THEIRS.sub('', inside)}{closing}{after}"
