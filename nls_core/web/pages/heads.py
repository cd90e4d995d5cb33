"""The head of each page's HTML: its own title, description and picture, for tabs and link previews.

Gradio's template names itself, and pictures outside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PICTURE = "/preview.jpg"  # of static/, made by `make screenshots`
PICTURE_SIZE = (1200, 630)  # what previews want
PICTURE_SHOWS = "The page Compare: a picture, clean and attacked, as two classifiers see it"
SPACE = ".hf.space"

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
        '<meta name="twitter:card" content="summary_large_image">'
    )


def preview(page: URL) -> str:
    """The tags of a page that hold addresses, which previews want whole.

    Its host is one that `edge.trust` let pass. A Space speaks https to the world, and http to us.
    """
    if (page.hostname or "").endswith(SPACE):
        page = page.replace(scheme="https")
    address, image = (
        escape(str(each), quote=True)
        for each in (page.replace(query=""), page.replace(path=PICTURE, query=""))
    )
    width, height = PICTURE_SIZE
    return (
        f'<meta property="og:url" content="{address}"><meta property="og:image" content="{image}">'
        f'<meta property="og:image:width" content="{width}">'
        f'<meta property="og:image:height" content="{height}">'
        f'<meta property="og:image:alt" content="{PICTURE_SHOWS}">'
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
                own = tags + preview(URL(scope=scope))
                data = with_head(data.decode("utf-8"), own).encode()
                MutableHeaders(raw=start["headers"])["content-length"] = str(len(data))
            await send(start)
            await send({"type": "http.response.body", "body": data})

        await self.app(scope, receive, rewritten)


def with_head(page: str, tags: str) -> str:
    """A page with these tags instead of the template's."""
    before, opening, rest = page.partition("<head>")
    inside, closing, after = rest.partition("</head>")
    return f"{before}{opening}{tags}{_THEIRS.sub('', inside)}{closing}{after}"
