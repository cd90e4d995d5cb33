"""Which sessions of the page listen for answers.

A visitor joins Gradio's queue by one request and hears of the answer over another, an event stream.
Whoever closes the stream, or never opens it, waits for nothing.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

SCOPE = "nls.streams"  # where a request's scope names the `Streams` around it


class Streams:
    """Middleware that counts the open event streams of each session."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._open: Counter[str] = Counter()

    def listens(self, *names: str | None) -> bool:
        """Whether a stream of one of these sessions or events is open."""
        return any(self._open[name] > 0 for name in names if name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; while an event stream is open its name counts."""
        scope[SCOPE] = self
        name = _stream(scope)
        if not name:
            await self.app(scope, receive, send)
            return
        self._open[name] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._open[name] -= 1
            if self._open[name] <= 0:
                del self._open[name]


def _stream(scope: Scope) -> str:
    """The session, or the event, whose answers a request listens for; '' if it does not."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return ""
    path: str = scope["path"]
    if path.endswith("/gradio_api/queue/data"):
        query = parse_qs(str(scope["query_string"], "latin-1"))
        return query.get("session_hash", [""])[0][:100]
    _, called, rest = path.partition("/gradio_api/call/")  # …/<name>/<event>
    event: str = rest.split("/")[-1]
    return event[:100] if called else ""
