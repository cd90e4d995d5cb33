"""Around every request, the page's uploads included: body limit, headers, log and metrics."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nls_core.problems import problem
from nls_core.types import InvalidInput, QueueFull, TooLarge

UI_PATH = "/ui"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CLOSED = 499  # the client went before an answer began; nginx's number, seen in log and metrics only
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Gradio needs inline scripts; a Space shows the app in a frame of huggingface.co
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
log = structlog.get_logger("nls_core")


class Metrics:
    """What /metrics shows of one app; each app has a registry of its own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        labels = ("route", "method", "status")
        self.requests = Counter("nls_requests", "Requests", labels, registry=own)
        self.seconds = Histogram("nls_request_seconds", "Time to answer", ("route",), registry=own)
        self.analyses = Counter("nls_analyses", "Analyses over REST", ("outcome",), registry=own)
        self.queue = Gauge("nls_queue_in_use", "Analyses that wait or run", registry=own)

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Count an analysis by how it ends."""
        outcome = "failed"
        try:
            yield
            outcome = "done"
        except QueueFull:
            outcome = "queue full"
            raise
        except InvalidInput:
            outcome = "refused"
            raise
        finally:
            self.analyses.labels(outcome).inc()


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
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > self.max_bytes:
            await self._refuse(scope, receive, send, f"{int(announced[:20]):,}")
            return
        count, started = 0, False

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self.max_bytes:
                raise TooLarge  # stops the app's reading; what it makes of that is dropped below
            return message

        async def guarded(message: Message) -> None:
            nonlocal started
            if started or count <= self.max_bytes:
                started = True
                await send(message)

        try:
            await self.app(scope, counted, guarded)
        except Exception:
            if started or count <= self.max_bytes:
                raise
        if not started and count > self.max_bytes:
            await self._refuse(scope, receive, send, "more")

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, got: str) -> None:
        detail = f"expected a body of at most {self.max_bytes:,} bytes, got {got}"
        await problem(scope, TooLarge.status, detail, kind=TooLarge)(scope, receive, send)


class Observed:
    """Security headers, a request id, one log line and the counts of every request.

    An unforeseen error is answered with a problem of status 500; what it was goes to the log only.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; only HTTP is observed."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), CLOSED
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS | {"X-Request-ID": request_id})
            await send(message)

        try:
            await self.app(scope, receive, marked)
        except Exception as error:
            log.error("crashed", request_id=request_id, exc_info=error)
            if status != CLOSED:
                raise  # the answer has begun: only cutting the connection tells the client
            detail = f"request {request_id} failed; the server's log says why"
            answer = problem(scope, HTTPStatus.INTERNAL_SERVER_ERROR, detail)
            await answer(scope, receive, marked)
        finally:
            self._record(scope, status, time.perf_counter() - begin, request_id)

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        path, method = scope["path"], scope["method"]
        log.info(
            "request",
            method=method,
            path=path,
            status=status,
            ms=round(1000 * seconds, 1),
            request_id=request_id,
        )
        known = method if method in METHODS else "other"  # so that nobody can make up labels
        route = _route(scope)
        self.metrics.requests.labels(route, known, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)


def _route(scope: Scope) -> str:
    """The template of the path, one for the whole page and one for what is not there."""
    path: str = scope["path"]
    if path == UI_PATH or path.startswith(f"{UI_PATH}/"):
        return UI_PATH
    return str(getattr(scope.get("route"), "path", "none"))
