"""For whom a handler of the page works, so that it stops once nobody listens any more."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

from gradio.context import LocalContext

from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.web.edge.streams import SCOPE, Streams

F = TypeVar("F", bound=Callable[..., Any])
GRACE = 5.0  # seconds without an open stream after which a visitor counts as gone


def session_name(session: str | None) -> str:
    """Whose turn an event of the page counts as."""
    return f"session {session}"


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
    streams: Streams | None = getattr(asked, "scope", {}).get(SCOPE)
    session = getattr(request, "session_hash", None)
    if streams is None:  # a handler called in a test, or by another program
        return Visitor(session_name(session))
    heard = time.monotonic()

    def gone() -> bool:
        nonlocal heard
        if streams.listens(session, event):
            heard = time.monotonic()
        return time.monotonic() - heard > GRACE

    return Visitor(session_name(session), gone)
