"""Around every handler of the pages: for whom it works, and how its errors reach that person."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

import gradio as gr
from gradio.context import LocalContext

from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.analysis.one_model import Progress
from nls_core.errors import NLSLabError
from nls_core.web.edge.streams import SCOPE, Streams

S = TypeVar("S")
T = TypeVar("T")
BEAT = 0.4  # seconds between two words on how far a work is
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
    """What each visitor asked for last, so that what nobody waits for any more is stopped."""

    def __init__(self, most: int) -> None:
        """`most` visitors are remembered, the latest ones."""
        self._most = most
        self._turns: OrderedDict[str, int] = OrderedDict()
        self._asked: dict[str, dict[str, Hashable]] = {}
        self._lock = threading.Lock()

    def begin(self) -> int:
        """This visitor asks for something else: what is done `while_latest` stops.

        Gives the number of the question, for `is_latest`.
        """
        name = VISITOR.get().name
        with self._lock:
            self._turns[name] = turn = self._turns.pop(name, 0) + 1
            if len(self._turns) > self._most:
                gone, _ = self._turns.popitem(last=False)
                self._asked.pop(gone, None)
        return turn

    def turn(self) -> int:
        """The number of this visitor's last question."""
        return self._turns.get(VISITOR.get().name, 0)

    def is_latest(self, turn: int) -> bool:
        """Whether this visitor has not begun anything since."""
        return self.turn() == turn

    def last(self, kind: str) -> Hashable:
        """What was `put` last for this visitor; None: nothing."""
        return self._asked.get(VISITOR.get().name, {}).get(kind)

    def put(self, kind: str, what: Hashable) -> None:
        """Remember something of this visitor, in place of the last of its kind."""
        self._asked.setdefault(VISITOR.get().name, {})[kind] = what

    @contextmanager
    def while_latest(self, turn: int | None = None) -> Iterator[None]:
        """Work that raises `Departed` between two steps once something else is asked for.

        At its end as well: what is done needs no further step, but nobody waits for it any more.
        `turn`: the number of the question that it belongs to, by default the last one's.
        """
        visitor = VISITOR.get()
        turn = self.turn() if turn is None else turn
        waiting = Visitor(visitor.name, lambda: visitor.gone() or not self.is_latest(turn))
        token = VISITOR.set(waiting)
        try:
            yield
            waiting.check()
        finally:
            VISITOR.reset(token)


def watched(work: Callable[[Progress], T], show: Callable[[str], S]) -> Generator[S, None, T]:
    """Do some work in a thread of its own; yields `show` of how far it is, returns its result.

    For handlers that show it themselves: Gradio's own bar lies over what is on the page.
    """
    told = ""

    def progress(done: float, what: str) -> None:
        nonlocal told
        told = f"{what}, {done:.0%}"

    with ThreadPoolExecutor(1) as pool:
        running, said = pool.submit(copy_context().run, work, progress), ""
        while not wait([running], timeout=BEAT).done:
            if told != said:
                said = told
                yield show(said)
    return running.result()


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
