"""The other end of NLS_BACKEND_URL: models for fronts, and the REST contract as everywhere.

Its routes take any computing that a front asks for: they are for a network that one trusts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import TypeAdapter, ValidationError

from nls_core.analysis import wire
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.lane import VISITOR
from nls_core.analysis.remote import PATH
from nls_core.analysis.results import AnalysisRequest
from nls_core.errors import CheckpointError, InvalidInput, brief, choose
from nls_core.images import Prepared
from nls_core.settings import Settings
from nls_core.types import Geometry
from nls_core.web.rest.api import TheAnalyzer, create_api, the_visitor

BODY_BYTES = 67_108_864  # 100 images of 224 pixels, as Features asks for, have 15 MB
MEDIA_TYPE = "application/x-npz"
NOWHERE = Geometry(0, 0, (0, 0, 0, 0))  # where the input lies in the picture, the front knows
router = APIRouter(prefix=PATH, include_in_schema=False)


async def _body(request: Request) -> bytes:
    return await request.body()


# in this order: whoever watches for the end of a connection must not meet the body
WAITING = [Depends(_body), Depends(the_visitor)]
Body = Annotated[bytes, Depends(_body)]


@router.post("/analyze", dependencies=WAITING)
def analyze(body: Body, analyzer: TheAnalyzer) -> Response:
    """What models say of a prepared picture: of each its id and the rest of a `ModelAnalysis`."""
    asked = _asked(body, analyzer)
    prepared = Prepared(_field(asked, "x"), NOWHERE, ())
    models = analyzer.answer(prepared, _request(_field(asked, "request")))
    answers = [(m.manifest.id, m.prediction, m.cam, m.sweep, m.flip_point) for m in models]
    return Response(wire.pack(answers), media_type=MEDIA_TYPE)


@router.post("/run", dependencies=WAITING)
def run(body: Body, analyzer: TheAnalyzer) -> Response:
    """What one of `wire.WORKS` gives with a model."""
    asked = _asked(body, analyzer)
    work = choose("work", _field(asked, "work"), wire.WORKS)
    if len(asked["models"]) != 1:
        raise InvalidInput(f"expected one model; got {len(asked['models'])}")
    (model_id,) = asked["models"]
    answer = analyzer.run(model_id, partial(work, *_field(asked, "arguments")))
    return Response(wire.pack(answer), media_type=MEDIA_TYPE)


def _asked(body: bytes, analyzer: Analyzer) -> Mapping[str, Any]:
    """What a front asks, for its visitor, of models with the weights that it knows.

    Raises:
        CheckpointError: they are other weights here.
    """
    asked = wire.unpack(body)
    if not isinstance(asked, dict):
        raise InvalidInput(f"expected a dict; got {type(asked).__name__}")
    VISITOR.set(replace(VISITOR.get(), name=str(_field(asked, "visitor"))))
    models: dict[str, str] = dict(_field(asked, "models"))
    for model_id, sha256 in models.items():
        if analyzer.manifest(model_id).sha256 != sha256:
            raise CheckpointError(
                f"the backend has other weights of {model_id} than the page; "
                "give both the same models"
            )
    return asked


def _field(asked: Mapping[str, Any], name: str) -> Any:
    if name not in asked:
        raise InvalidInput(f"expected the field {name}; got {sorted(asked)}")
    return asked[name]


def _request(found: Any) -> AnalysisRequest:
    """A request with fields of their types; values are checked as everywhere."""
    try:
        return TypeAdapter(AnalysisRequest).validate_python(found)
    except ValidationError as error:
        raise InvalidInput(f"expected a request; got another: {brief(error)}") from error


def create_backend(settings: Settings) -> FastAPI:
    """REST, and the routes above."""
    app = create_api(settings, form_bytes=BODY_BYTES)
    app.include_router(router)
    return app
