"""Around every handler of the pages: for whom it works, and how its errors reach that person."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.errors import NLSLabError
from nls_core.web.edge.streams import SCOPE, Streams

GRACE = 5.0  # seconds without an open stream after which a visitor counts as gone


def session_name(session: str | None) -> str:
    """Whose turn an event of the page counts as."""
    return f"session {session}"


def attend(blocks: gr.Blocks) -> None:
    """Wrap all handlers of an app in `visiting`, so that no page can forget to."""
    for event in blocks.fns.values():
        if event.fn is not None:
            event.fn = visiting(event.fn)


def visiting(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose computations stop once its visitor is gone, and whose errors are shown.

    An error of ours that the handler does not show in its own place becomes Gradio's message.
    """

    @functools.wraps(handler)
    def visited(*arguments: Any, **named: Any) -> Any:
        token = VISITOR.set(_visitor())
        try:
            return handler(*arguments, **named)
        except NLSLabError as error:
            raise gr.Error(str(error), print_exception=False) from error
        finally:
            VISITOR.reset(token)

    return visited


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
