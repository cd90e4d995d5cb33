"""Who is at the page: whether a session still listens for answers, and for whom a handler works.

A visitor of the page joins Gradio's queue by one request and hears of the answer over another, an
event stream. Whoever closes the stream, or never opens it, waits for nothing.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs

from gradio.context import LocalContext
from starlette.types import ASGIApp, Receive, Scope, Send

from nls_core.lane import VISITOR, Visitor

F = TypeVar("F", bound=Callable[..., Any])
GRACE = 5.0  # seconds without an open stream after which a visitor counts as gone
_SELF = "nls.streams"  # where a request's scope names the `Streams` around it


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
        scope[_SELF] = self
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


def visiting(handler: F) -> F:
    """A handler of the page whose computations stop once its visitor is gone."""

    @functools.wraps(handler)
    def visited(*arguments: Any, **named: Any) -> Any:
        token = VISITOR.set(_visitor())
        try:
            return handler(*arguments, **named)
        finally:
            VISITOR.reset(token)

    return visited  # type: ignore[return-value]


def _visitor() -> Visitor:
    request, event = LocalContext.request.get(None), LocalContext.event_id.get(None)
    asked = getattr(request, "request", None)  # Starlette's, of the joining of the queue
    streams = getattr(asked, "scope", {}).get(_SELF)
    session = getattr(request, "session_hash", None)
    if streams is None:  # a handler called in a test, or by another program
        return Visitor(f"session {session}")
    heard = time.monotonic()

    def gone() -> bool:
        nonlocal heard
        if streams.listens(session, event):
            heard = time.monotonic()
        return time.monotonic() - heard > GRACE

    return Visitor(f"session {session}", gone)
