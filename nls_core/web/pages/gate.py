"""What of Gradio's own routes strangers may use, and with which bodies.

Gradio has some eighty routes. The page and gradio_client need those in `ROUTES`; the rest (a proxy
for other sites, saved states, monitoring, editing, calls past the queue) is not there. A body may
name files only that were uploaded here, whatever component it goes to.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nls_core.errors import InvalidInput, QueueFull, TooLarge
from nls_core.web.edge.problems import problem
from nls_core.web.pages.visitors import session_name
from nls_core.web.pages.widgets import LANE

READ = ("GET", "HEAD")
POST = ("POST",)
STREAM = ("GET",)  # answers that end with the client: HEAD would wait for ever
BODY_BYTES = 1_048_576  # of a call: values of controls, and where its uploads lie
NAME_BYTES = 255  # what file systems take
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")

# template below the mount -> methods; {x} is one segment, {x*} the rest of the path
ROUTES: dict[str, Sequence[str]] = {
    "/": READ,
    "/config": READ,
    "/theme.css": READ,
    "/robots.txt": READ,
    "/manifest.json": READ,
    "/static/{file*}": READ,
    "/assets/{file*}": READ,
    "/svelte/{file*}": READ,
    "/gradio_api/info": READ,
    "/gradio_api/app_id": READ,
    "/gradio_api/theme.css": READ,
    "/gradio_api/file={path*}": READ,
    "/gradio_api/heartbeat/{session}": STREAM,
    "/gradio_api/upload_progress": STREAM,
    "/gradio_api/queue/data": STREAM,
    "/gradio_api/call/{api}/{event}": STREAM,
    "/gradio_api/call/v2/{api}/{event}": STREAM,
    "/gradio_api/call/{api}": POST,
    "/gradio_api/call/v2/{api}": POST,
    "/gradio_api/queue/join": POST,
    "/gradio_api/cancel": POST,
    "/gradio_api/reset": POST,
    "/gradio_api/upload": POST,
}


class _Refused(Exception):
    """With the status and the detail of the problem."""

    def __init__(self, status: int, detail: str, kind: type[Any] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.kind = status, detail, kind


@dataclass(frozen=True)
class Limits:
    """What bounds the calls of the page."""

    uploads: Path  # where files that a call names have to lie
    shown: Sequence[Path]  # further folders whose files may be fetched
    places: int  # calls that may wait
    is_full: Callable[[str, int], bool]  # whether what computes has no place left for a visitor


class Gate:
    """ASGI around the mounted Gradio app: lets through what is in `ROUTES`."""

    def __init__(self, app: ASGIApp, blocks: Any, prefix: str, limits: Limits) -> None:
        self.app, self.blocks, self.prefix, self.limits = app, blocks, prefix, limits
        pages = {f"/{slug}": READ for slug, *_ in blocks.pages if slug}
        self.slashed = {f"{prefix}{page}/": prefix + page for page in pages}
        self.routes = [(_pattern(t), t, m) for t, m in {**ROUTES, **pages}.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; what is not allowed is answered with a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] in READ and scope["path"] in self.slashed:  # Gradio forgets the prefix
            scope["nls.route"] = self.slashed[scope["path"]]
            query = scope.get("query_string", b"").decode("latin-1")
            moved = RedirectResponse(scope["nls.route"] + (f"?{query}" if query else ""))
            await moved(scope, receive, send)
            return
        try:
            receive = await self._admit(scope, receive)
        except _Refused as refused:
            answer: Response = problem(scope, refused.status, refused.detail, kind=refused.kind)
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """Check a request; gives what the app is to read from."""
        path = scope["path"].removeprefix(self.prefix) or "/"
        scope["nls.route"], parts = self._match(path, scope["method"])
        if "session" in parts:
            _check_session(parts["session"])
        if "path" in parts:
            self._check_fetch(parts["path"])
            del MutableHeaders(scope=scope)["range"]  # Gradio fails on malformed ones
        if scope["method"] == "POST" and not path.endswith("/upload"):
            return await self._check_call(scope, receive, parts.get("api"))
        return receive

    def _match(self, path: str, method: str) -> tuple[str, dict[str, str]]:
        """The template of a path and the values of its parts."""
        longest = max(len(part.encode()) for part in path.split("/"))
        if "\0" in path or longest > NAME_BYTES:  # no file's name; Gradio fails on it
            raise _Refused(HTTPStatus.NOT_FOUND, "Not Found")
        hits = [(t, m, hit) for p, t, m in self.routes if (hit := p.fullmatch(path))]
        for template, methods, hit in hits:
            if method in methods:
                return self.prefix + template, hit.groupdict()
        if hits:
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed")
        raise _Refused(HTTPStatus.NOT_FOUND, "Not Found")

    async def _check_call(self, scope: Scope, receive: Receive, api: str | None) -> Receive:
        body, again = _parse(await _read(receive))
        _check_session(body.get("session_hash"))
        for path in _files(body):
            if not isinstance(path, str) or not _below(path, (self.limits.uploads,)):
                raise _Refused(
                    HTTPStatus.FORBIDDEN,
                    "expected files that were uploaded here; got another: send it to "
                    f"{self.prefix}/gradio_api/upload, and name the path that is answered",
                    InvalidInput,
                )
        if api is not None or scope["path"].endswith("/join"):
            self._check_listener(body, api)
        return _replay(scope, again, receive)

    def _check_listener(self, body: dict[str, Any], api: str | None) -> None:
        """Refuse calls of what is not there or private, and of what has no place left."""
        fns = self.blocks.fns
        if api is not None:
            named = [fn for fn in fns.values() if fn.api_name == api]
            fn = next((fn for fn in named if fn.api_visibility != "private"), None)
        else:
            index = body.get("fn_index")
            fn = fns.get(index) if type(index) is int else None
        if fn is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such function of the page")
        if fn.concurrency_id != LANE["concurrency_id"]:
            return  # quick ones pass while others compute
        visitor = session_name(body.get("session_hash"))
        if len(self.blocks._queue) >= self.limits.places or self.limits.is_full(visitor, 0):
            raise _Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.limits.places} analyses are waiting already; try again in a moment",
                QueueFull,
            )

    def _check_fetch(self, path: str) -> None:
        if not _below(path, (self.limits.uploads, *self.limits.shown)):
            raise _Refused(HTTPStatus.NOT_FOUND, "Not Found")


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)(\*?)\}", template)
    text = re.escape(parts[0])
    for name, rest, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        text += f"(?P<{name}>{'.+' if rest else '[^/]+'})" + re.escape(after)
    return re.compile(text, re.DOTALL)


def _below(path: str, folders: Sequence[Path]) -> bool:
    """Whether an absolute path lies in one of the folders, which hold no links."""
    if "\0" in path or not os.path.isabs(path):
        return False
    return any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in folders)


def _check_session(session: object) -> None:
    if session is not None and not (isinstance(session, str) and _SESSION.fullmatch(session)):
        raise _Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "expected a session of at most 64 letters, digits, - and _; got another",
            InvalidInput,
        )


async def _read(receive: Receive) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        more = message.get("more_body", False)
        if size > BODY_BYTES:
            detail = f"expected a call of at most {BODY_BYTES:,} bytes, got more"
            raise _Refused(TooLarge.status, detail, TooLarge)
    return b"".join(chunks)


def _parse(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A body, and the same written anew: what the app reads is then what was checked.

    One key may stand twice in JSON, and its encoding is guessed.
    """
    try:
        body = json.loads(data)
        again = json.dumps(body).encode()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "expected a JSON object", InvalidInput)
    return body, again


def _files(body: Any) -> Iterator[Any]:
    """The places of all files that a body names: paths, and addresses that stand for them."""
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if place := value.get("path") or value.get("url"):
                yield place
            if str(value.get("url")).startswith("data:"):  # Gradio would prefer it
                yield value["url"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _replay(scope: Scope, body: bytes, receive: Receive) -> Receive:
    headers = MutableHeaders(scope=scope)
    headers["content-length"] = str(len(body))
    del headers["transfer-encoding"]
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
