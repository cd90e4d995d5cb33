"""What may be read of a request: how much, how long, and whether at all.

Each of these middlewares may refuse before or while the body comes in. What the app makes of the
reading that was cut short is dropped, and the refusal is sent in its place.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nls_core.errors import DiskFull, QueueFull, TooLarge
from nls_core.settings import Settings
from nls_core.web.edge.problems import problem
from nls_core.web.edge.scratch import Sweeper, check_free

LONGEST_WAIT = 5  # seconds that a client whom the full queue turned away is asked to wait


class Refused(Exception):
    """Stops the reading of a body; `answer` goes to the client."""

    def __init__(self, answer: Response) -> None:
        super().__init__("refused")
        self.answer = answer


async def serve_reading(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a request whose `receive` may raise `Refused`, whatever the app makes of that."""
    refusal: Refused | None = None
    started = False

    async def noted() -> Message:
        nonlocal refusal
        try:
            return await receive()
        except Refused as error:
            refusal = error
            raise

    async def guarded(message: Message) -> None:
        nonlocal started
        if started or refusal is None:
            started = True
            await send(message)

    try:
        await app(scope, noted, guarded)
    except Exception:
        if started or refusal is None:
            raise
    if refusal is not None and not started:
        await refusal.answer(scope, receive, send)


def visitor_name(scope: Scope) -> str:
    """Whose turn a request of REST counts as: behind a proxy, all its visitors'."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def announced(scope: Scope) -> int | None:
    """The body's length as the client says, in bytes."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length[:20]) if length.isdecimal() else None


class BodyLimit:
    """Refuse bodies beyond `max_bytes`, announced or streamed, with a problem of status 413."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, counting the bytes that come in."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = announced(scope) or 0
        if length > self.max_bytes:
            await self._problem(scope, f"{length:,}")(scope, receive, send)
            return
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self.max_bytes:
                raise Refused(self._problem(scope, "more"))
            return message

        await serve_reading(self.app, scope, counted, send)

    def _problem(self, scope: Scope, got: str) -> Response:
        detail = f"expected a body of at most {self.max_bytes:,} bytes, got {got}"
        return problem(scope, TooLarge.status, detail, kind=TooLarge)


class BodyDeadline:
    """Refuse bodies that take longer than `seconds` to arrive, with a problem of status 408."""

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, with a clock that stops when the body is there."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        end: float = asyncio.get_running_loop().time() + self.seconds

        async def timed() -> Message:
            nonlocal end
            left = end - asyncio.get_running_loop().time()
            try:
                message = await asyncio.wait_for(receive(), None if end == math.inf else left)
            except (asyncio.TimeoutError, TimeoutError):
                raise Refused(self._problem(scope)) from None
            if not message.get("more_body", False):
                end = math.inf  # from here on the app waits for nothing but the client's leaving
            return message

        await serve_reading(self.app, scope, timed, send)

    def _problem(self, scope: Scope) -> Response:
        detail = f"expected the whole request within {self.seconds:g} s; it did not come: try again"
        return problem(scope, HTTPStatus.REQUEST_TIMEOUT, detail, headers={"Connection": "close"})


class Admission:
    """Refuse what would be computed, before its body is read, while the queue is full.

    A request holds a place from the end of its body to its answer, so that those that came at the
    same moment count too, and a slow client holds none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        path: str,
        places: int,
        is_full: Callable[[str, int], bool],
        refused: Callable[[], None],
    ) -> None:
        """`path` is where POST computes; `is_full` tells by visitor and how many are let in.

        `refused` is called at each refusal.
        """
        self.app = app
        self.path = path
        self.places = places
        self.most = places + max(1, places // 4)  # some may be about to make room for others
        self.is_full = is_full
        self.refused = refused
        self.held, self.turned_away = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; all but POST to `path` pass."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", self.path):
            await self.app(scope, receive, send)
            return
        if self._full(scope):
            await self._problem(scope)(scope, receive, send)
            return
        holds = False

        async def counted() -> Message:
            nonlocal holds
            message = await receive()
            if not holds and not message.get("more_body", False):
                if self._full(scope):
                    raise Refused(self._problem(scope))
                self.held, holds = self.held + 1, True
            return message

        try:
            await serve_reading(self.app, scope, counted, send)
        finally:
            self.held -= holds

    def _full(self, scope: Scope) -> bool:
        return self.held >= self.most or self.is_full(visitor_name(scope), self.held)

    def _problem(self, scope: Scope) -> Response:
        self.refused()
        scope["nls.route"] = self.path  # the router, which would say so, does not see it
        detail = f"{self.places} analyses are waiting already; try again in a moment"
        # not all at the same moment, or the queue would stand empty between two rushes
        self.turned_away += 1
        later = {"Retry-After": str(1 + self.turned_away % LONGEST_WAIT)}
        return problem(scope, QueueFull.status, detail, kind=QueueFull, headers=later)


class DiskRoom:
    """Refuse what would be written to a full disk, with a problem of status 507."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, sweeper: Sweeper, upload: str, most: int
    ) -> None:
        """`upload` is the path whose bodies stay on the disk; `most` bytes, if they do not say."""
        self.app = app
        self.settings = settings
        self.sweeper = sweeper
        self.upload = upload
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; all but POST pass."""
        if scope["type"] == "http" and scope["method"] == "POST":
            length = announced(scope)
            size = self.most if length is None else length
            try:
                if scope["path"] == self.upload:
                    await asyncio.to_thread(partial(self.sweeper.admit, size))
                else:
                    check_free(self.settings, size)  # large bodies of REST lie on a disk too
            except DiskFull as error:
                answer = problem(scope, DiskFull.status, str(error), kind=DiskFull)
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)
