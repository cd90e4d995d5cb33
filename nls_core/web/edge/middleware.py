"""Around every request, those of the page included: headers, log and metrics."""

from __future__ import annotations

import asyncio
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nls_core.errors import DiskFull, InvalidInput, QueueFull
from nls_core.web.edge.problems import NO_ROOM, disk_is_full, problem

UI_PATH = "/ui"
LOGGED = "nls.logged"  # where a request's scope has more for its line in the log
STOPS = "the server stops, and this took too long; try again in a moment"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CLOSED = 499  # the client went before an answer began; nginx's number, seen in log and metrics only
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # the webcam of the page; nothing else of the visitor's machine
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}
# a Space shows the app in a frame of huggingface.co
FRAMES = "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
STRICT = f"default-src 'none'; base-uri 'none'; form-action 'none'; {FRAMES}"
# Gradio's page has inline scripts and makes functions of the text of its events
PAGE = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    f"manifest-src 'self'; base-uri 'self'; form-action 'self'; {FRAMES}"
)
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
        self._phases = Histogram("nls_phase_seconds", "Of analyses", ("phase",), registry=own)
        self._models = Histogram("nls_model_seconds", "Computing", ("model",), registry=own)
        # what must not grow with the requests; memory and descriptors are of the collector
        self.hooks = Gauge("nls_model_hooks", "Hooks of models, 0 while none runs", registry=own)
        self.cache = Gauge("nls_cache_bytes", "Of what is computed and kept", registry=own)
        self.files = Gauge("nls_scratch_files", "Uploads and exports on the disk", registry=own)
        threads = Gauge("nls_threads", "Threads of Python", registry=own)
        threads.set_function(threading.active_count)
        ProcessCollector(registry=own)

    def phase(self, name: str, seconds: float) -> None:
        """Note what a phase of an analysis took."""
        self._phases.labels(name).observe(seconds)

    def model(self, model_id: str, seconds: float) -> None:
        """Note what one model's part of an analysis took."""
        self._models.labels(model_id).observe(seconds)

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


class HeadAsGet:
    """Answer HEAD as GET without its body, but not below `prefix`, where streams do not end."""

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        other = scope["type"] != "http" or scope["method"] != "HEAD"
        if other or scope["path"].startswith(self.prefix):
            await self.app(scope, receive, send)
            return
        scope["method"] = "GET"  # in place, since the router notes its route in this scope

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app(scope, receive, without_body)


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
        begin, status, method = time.perf_counter(), CLOSED, scope["method"]
        policy = PAGE if _of_page(scope["path"]) else STRICT
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS | {"X-Request-ID": request_id})
                headers.setdefault("Content-Security-Policy", policy)
            await send(message)

        try:
            await self.app(scope, receive, marked)
        except asyncio.CancelledError:  # the server stops, and does not wait any longer
            if status == CLOSED:
                await problem(scope, HTTPStatus.SERVICE_UNAVAILABLE, STOPS)(scope, receive, marked)
            raise
        except Exception as error:
            log.error("crashed", request_id=request_id, exc_info=error)
            if status != CLOSED:
                raise  # the answer has begun: only cutting the connection tells the client
            answer = _failed(scope, error, request_id)
            await answer(scope, receive, marked)
        finally:
            self._record(scope, method, status, time.perf_counter() - begin, request_id)

    def _record(
        self, scope: Scope, method: str, status: int, seconds: float, request_id: str
    ) -> None:
        route = _route(scope)  # not the path: it may hold the name of an upload
        log.info(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(1000 * seconds, 1),
            request_id=request_id,
            **scope.get(LOGGED, {}),
        )
        known = method if method in METHODS else "other"  # so that nobody can make up labels
        self.metrics.requests.labels(route, known, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)


def _failed(scope: Scope, error: Exception, request_id: str) -> Response:
    """The answer to what nobody foresaw; a full disk can show anywhere."""
    if disk_is_full(error):
        return problem(scope, DiskFull.status, NO_ROOM, kind=DiskFull)
    detail = f"request {request_id} failed; the server's log says why"
    return problem(scope, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _of_page(path: str) -> bool:
    return path == UI_PATH or path.startswith(f"{UI_PATH}/")


def _route(scope: Scope) -> str:
    """The template of the path, or 'none' for what is not there."""
    if "nls.route" in scope:  # of Gradio's routes, by the gate
        return str(scope["nls.route"])
    if _of_page(scope["path"]):
        return UI_PATH
    return str(getattr(scope.get("route"), "path", "none"))
