"""Every error as problem JSON (RFC 9457); nothing internal leaves the machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from nls_core.errors import DiskFull, InvalidInput, NLSLabError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"  # seconds; about what an analysis takes
NO_ROOM = "the server's disk is full; its operator has to make room"
log = structlog.get_logger("nls_core")


def problem_type(error: type[NLSLabError]) -> str:
    """The `type` of a problem: where the API page explains it."""
    return f"/docs#{error.title.lower().replace(' ', '-')}"


def error_types(base: type[NLSLabError] = NLSLabError) -> Iterator[type[NLSLabError]]:
    """Every kind of error below `base`."""
    for kind in base.__subclasses__():
        yield kind
        yield from error_types(kind)


def problem(
    scope: Scope,
    status: int,
    detail: str,
    *,
    kind: type[NLSLabError] | None = None,
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> Response:
    """A problem response.

    Args:
        scope: of the request.
        status: HTTP status.
        detail: what was expected and what came.
        kind: the error that gives type and title; None says no more than the status.
        headers: of the response; 503 also gets Retry-After.
        extra: further members of `Problem`.
    """
    body = Problem(
        type="about:blank" if kind is None else problem_type(kind),
        title=HTTPStatus(status).phrase if kind is None else kind.title,
        status=status,
        detail=detail,
        instance=quote(scope["path"]),
        **extra,
    )
    headers = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", RETRY_AFTER)
    return Response(body.model_dump_json(exclude_none=True), int(status), headers, MEDIA_TYPE)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


async def _on_own(request: Request, error: Exception) -> Response:
    assert isinstance(error, NLSLabError)  # noqa: S101  # as registered below
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("failed", kind=type(error).__name__, detail=str(error))
    return problem(request.scope, error.status, str(error), kind=type(error))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if disk_is_full(error):  # while a form came in, which FastAPI calls a bad request
        return problem(request.scope, DiskFull.status, NO_ROOM, kind=DiskFull)
    return problem(request.scope, error.status_code, str(error.detail), headers=error.headers)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = [
        {"field": ".".join(map(str, e["loc"])), "message": e["msg"] + _got(e.get("input"))}
        for e in error.errors()
    ]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
    return problem(request.scope, 422, detail, kind=InvalidInput, errors=errors)


def _got(value: object) -> str:
    return f"; got {value!r:.100}" if isinstance(value, (str, int, float)) else ""


def install(app: FastAPI) -> None:
    """Let an app answer every error of its routes with a problem."""
    app.add_exception_handler(NLSLabError, _on_own)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="what kind of error; about:blank says no more than the status")
    title: str = Field(description="the kind of error in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was expected and what came")
    instance: str = Field(description="the path of the request")
    errors: list[dict[str, str]] | None = Field(
        None, description="for malformed requests, each bad field and what is wrong with it"
    )
    models: dict[str, str] | None = Field(
        None, description="for readiness, the state of each model"
    )
