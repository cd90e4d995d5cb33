"""Whose turn it is: a bounded queue, fair turns between visitors, and one thread that computes.

Each thread that computes keeps memory of its own (malloc arenas, OpenMP's workers), so all heavy
work of a process goes through a few lanes of one thread each. Whoever asks waits in its own thread,
and leaves when its visitor goes, when its time is up, or when it has to make room for others.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from nls_core.errors import Departed, Overdue, QueueFull

T = TypeVar("T")
LOOK = 0.1  # seconds between two looks at whether somebody who waits is still there
IDLE = 2.0  # seconds without a work until a lane is idle: memory given back costs its return


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Visitor:
    """For whom something is computed: turns go round by `name`; `gone` says that nobody waits."""

    name: str = "this process"
    gone: Callable[[], bool] = _never

    def check(self) -> None:
        """Raise `Departed` if nobody waits."""
        if self.gone():
            raise Departed("the visitor left before the answer was ready; the work was stopped")


NOBODY = Visitor()
# Set by the web layer around each request, so that nothing in between has to pass it on.
VISITOR: contextvars.ContextVar[Visitor] = contextvars.ContextVar("visitor", default=NOBODY)


class Place:
    """A place in the queue; `check` raises once it is lost."""

    def __init__(self, visitor: Visitor, seconds: float) -> None:
        """`seconds` that may be computed, counted from `begin`."""
        self.visitor = visitor
        self.seconds = seconds
        self.begun: float | None = None
        self.bumped = False

    def begin(self) -> None:
        """Start the clock, if it does not run yet."""
        if self.begun is None:
            self.begun = time.monotonic()

    def check(self) -> None:
        """Raise if this work should not go on.

        Raises:
            QueueFull: another visitor, who had fewer places, needed this one.
            Departed: the visitor is gone.
            Overdue: the time is up.
        """
        if self.bumped:
            raise QueueFull("the queue is full and others had fewer places; try again in a moment")
        self.visitor.check()
        if self.begun is not None and time.monotonic() - self.begun > self.seconds:
            raise Overdue(
                f"this took more than {self.seconds:g} s and was stopped; ask for fewer models, "
                "strengths or steps, or for a cheaper map or attack"
            )


class Queue:
    """At most `capacity` places; when all are taken, the greediest visitor makes room.

    A newcomer takes the last waiting place of the visitor who waits in most places, if that one
    still keeps more than the newcomer then has; else the newcomer is refused at once.
    """

    def __init__(self, capacity: int, seconds: float) -> None:
        self.capacity, self.seconds = capacity, seconds
        self._lock = threading.Lock()
        self._places: list[Place] = []

    @property
    def in_use(self) -> int:
        """Places of works that run or wait."""
        return len(self._places)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Hold a place for the visitor of this context.

        Raises:
            QueueFull: all are taken.
        """
        place = Place(VISITOR.get(), self.seconds)
        with self._lock:
            if len(self._places) >= self.capacity:
                self._make_room(place.visitor)
            self._places.append(place)
        try:
            yield place
        finally:
            with self._lock:
                if place in self._places:
                    self._places.remove(place)

    def is_full(self, name: str, coming: int = 0) -> bool:
        """Whether a visitor of that name would be refused.

        `coming` counts those who are let in, with or without a place by now.
        """
        with self._lock:
            held = max(len(self._places), coming)
            return held >= self.capacity and self._spare(name) is None

    def _spare(self, newcomer: str) -> Place | None:
        """The place that a newcomer may take, if any."""
        held = Counter(place.visitor.name for place in self._places)
        waiting = [place for place in self._places if place.begun is None]
        greedy = max((p.visitor.name for p in waiting), key=lambda name: held[name], default=None)
        if greedy is None or held[greedy] < held[newcomer] + 2:
            return None
        return [place for place in waiting if place.visitor.name == greedy][-1]

    def _make_room(self, newcomer: Visitor) -> None:
        spare = self._spare(newcomer.name)
        if spare is None:
            raise QueueFull(f"{self.capacity} works wait or run already; try again in a moment")
        spare.bumped = True
        self._places.remove(spare)


@dataclass(frozen=True)
class _Job:
    work: Callable[[], Any]
    place: Place
    context: contextvars.Context
    answer: Future[Any]


class Lane:
    """One thread that works for one after the other, visitor by visitor in turn."""

    def __init__(
        self, name: str, when_idle: Callable[[], None] = lambda: None, idle: float = IDLE
    ) -> None:
        """`when_idle` is called in the lane's thread once no work has come for `idle` seconds."""
        self.name, self._when_idle, self._idle = name, when_idle, idle
        self._ready = threading.Condition()
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Works that wait for their turn, those of visitors who left included."""
        with self._ready:
            return sum(map(len, self._waiting.values()))

    def run(self, place: Place, work: Callable[[], T]) -> T:
        """Do `work`, which may call `place.check` now and then, in the lane's thread.

        It sees the caller's context variables. Errors are those of `work` and `Place.check`.
        """
        job = _Job(work, place, contextvars.copy_context(), Future())
        with self._ready:
            self._waiting.setdefault(place.visitor.name, deque()).append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=self.name, daemon=True)
                self._thread.start()
            self._ready.notify()
        while True:
            try:
                result: T = job.answer.result(timeout=LOOK)
            except NotYet:
                if job.answer.running() or job.answer.done():
                    continue  # the work looks for itself
                try:
                    place.check()
                except Exception:
                    if job.answer.cancel():
                        raise
            else:
                return result

    def _serve(self) -> None:
        while True:
            if not self._comes(self._idle):
                self._when_idle()
            job = self._next()
            if not job.answer.set_running_or_notify_cancel():
                continue
            job.place.begin()
            try:
                result = job.context.run(job.work)
            except BaseException as error:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(result)
            del job  # or the last answer would be kept until the next one

    def _comes(self, seconds: float) -> bool:
        """Whether a work waits, or comes within some seconds."""
        with self._ready:
            return self._ready.wait_for(lambda: bool(self._waiting), seconds)

    def _next(self) -> _Job:
        """The first job of the visitor whose turn it is; the visitor then queues up again."""
        with self._ready:
            while not self._waiting:
                self._ready.wait()
            name, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[name] = jobs
            return job
