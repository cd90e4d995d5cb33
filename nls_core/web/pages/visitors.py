"""Around every handler of the pages: for whom it works, and how its errors reach that person."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        with _for(_visitor()):
            return handler(*arguments, **named)

    @functools.wraps(handler)
    def yielding(*arguments: Any, **named: Any) -> Iterator[Any]:
        visitor, steps = _visitor(), handler(*arguments, **named)
        while True:
            with _for(visitor):  # each step may run in another thread
                step = next(steps, _END)
            if step is _END:
                return
            yield step

    return yielding if inspect.isgeneratorfunction(handler) else visited


_END = object()


@contextmanager
def _for(visitor: Visitor) -> Iterator[None]:
    token = VISITOR.set(visitor)
    try:
        yield
    except NLSLabError as error:
        raise gr.Error(str(error), print_exception=False) from error
    finally:
        VISITOR.reset(token)


class Latest:
    """Which work each visitor asked for last, so that what nobody waits for any more is stopped."""

    def __init__(self, most: int) -> None:
        """`most` visitors are remembered, the latest ones."""
        self._most = most
        self._turns: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """This visitor asks for something else: what is done `while_latest` stops."""
        name = VISITOR.get().name
        with self._lock:
            self._turns[name] = self._turns.pop(name, 0) + 1
            if len(self._turns) > self._most:
                self._turns.popitem(last=False)

    @contextmanager
    def while_latest(self) -> Iterator[None]:
        """Work that raises `Departed` between two steps once something else is asked for."""
        visitor = VISITOR.get()
        turn = self._turns.get(visitor.name)
        token = VISITOR.set(
            Visitor(
                visitor.name,
                lambda: visitor.gone() or self._turns.get(visitor.name) != turn,
            )
        )
        try:
            yield
        finally:
            VISITOR.reset(token)


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
