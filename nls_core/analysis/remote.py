"""Models that run elsewhere: behind NLS_BACKEND_URL, see `web.rest.backend`.

The picture is prepared here, and what comes back is kept here, as if it had been computed here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import TimeoutError as NotYet
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar, cast

import httpx
from anyio.from_thread import BlockingPortalProvider

from nls_core import errors
from nls_core.analysis import wire
from nls_core.analysis.backend import Work
from nls_core.analysis.lane import LOOK, Place
from nls_core.analysis.one_model import Progress
from nls_core.analysis.parts import Parts
from nls_core.analysis.results import AnalysisRequest, ModelAnalysis
from nls_core.errors import BackendDown, NLSLabError
from nls_core.images import Prepared
from nls_core.types import Manifest

T = TypeVar("T")
PATH = "/api/v1/backend"
PATIENCE = httpx.Timeout(600, connect=5)  # an answer may wait for its turn; a host may be gone
READY = 3  # seconds in which it has to say that it is ready
KINDS: dict[str, type[NLSLabError]] = {
    kind.title: kind
    for kind in (
        errors.CheckpointError,
        errors.InvalidInput,
        errors.Overdue,
        errors.QueueFull,
        errors.TooCostly,
        errors.UnknownModel,
        errors.UnknownName,
    )
}


class Remote:
    """The models of another server, which has to have the same weights."""

    def __init__(self, url: str, manifest: Callable[[str], Manifest]) -> None:
        self.url, self._manifest = url.rstrip("/"), manifest
        self._tls = httpx.create_ssl_context()  # takes longer than a request
        self._portals = BlockingPortalProvider()

    def analyze(self, known: Parts, prepared: Prepared, place: Place, progress: Progress) -> None:
        """As `Backend.analyze`; what comes is added at once."""
        missing = known.remaining()
        if missing is None:
            return
        progress(0.0, "the backend computes")
        models = {model_id: known.manifests[model_id].sha256 for model_id in missing.models}
        asked = {"models": models, "x": prepared.x, "request": asdict(missing)}
        for model_id, *answer in self._ask("analyze", asked, place):
            known.add(ModelAnalysis(known.manifests[model_id], *answer))

    def run(self, model_id: str, work: Work[T], place: Place) -> T:
        """As `Backend.run`."""
        chosen = cast("partial[T]", work)
        asked = {
            "models": {model_id: self._manifest(model_id).sha256},
            "work": chosen.func.__name__,
            "arguments": chosen.args,
        }
        return cast(T, self._ask("run", asked, place))

    def expected(self, request: AnalysisRequest) -> float | None:
        """As `Backend.expected`: not known here."""
        return None

    def check(self) -> None:
        """As `Backend.check`: it has to answer as ready itself."""
        try:
            answer = httpx.get(f"{self.url}/readyz", verify=self._tls, timeout=READY)
        except httpx.HTTPError as error:
            raise self._down(error) from error
        if answer.status_code != HTTPStatus.OK:
            raise self._down(_member(answer, "detail") or f"it answers {answer.status_code}")

    def _ask(self, what: str, asked: dict[str, Any], place: Place) -> Any:
        """Ask and wait, but only as long as somebody waits for the answer."""
        body = wire.pack(asked | {"visitor": place.visitor.name})
        with self._portals as portal:
            answer = portal.start_task_soon(self._post, f"{self.url}{PATH}/{what}", body)
            while True:
                try:
                    return self._read(answer.result(timeout=LOOK))
                except NotYet:
                    try:
                        place.check()
                    except NLSLabError:
                        answer.cancel()  # closes the connection, which stops the work there
                        raise

    async def _post(self, url: str, body: bytes) -> httpx.Response:
        try:
            async with httpx.AsyncClient(verify=self._tls, timeout=PATIENCE) as client:
                return await client.post(url, content=body)
        except httpx.HTTPError as error:
            raise self._down(error) from error

    def _read(self, answer: httpx.Response) -> Any:
        if answer.status_code == HTTPStatus.OK:
            try:
                return wire.unpack(answer.content)
            except errors.InvalidInput as error:  # some other server
                raise self._down(error) from error
        detail = _member(answer, "detail")
        kind = KINDS.get(_member(answer, "title"))
        if kind is not None and detail:
            raise kind(detail)
        if answer.status_code in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            raise errors.QueueFull("the backend has no place left; try again in a moment")
        raise self._down(detail or f"it answers {answer.status_code}")

    def _down(self, why: object) -> BackendDown:
        said = errors.brief(why) if str(why) else type(why).__name__
        return BackendDown(
            f"what computes, NLS_BACKEND_URL={self.url}, cannot be used now: {said}; "
            "what was computed before can still be looked at"
        )


def _member(answer: httpx.Response, name: str) -> str:
    """A member of a problem, '' where the answer is none."""
    try:
        return str(answer.json().get(name, ""))
    except (ValueError, AttributeError):
        return ""
