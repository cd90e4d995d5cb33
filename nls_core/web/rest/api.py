"""REST over one `Analyzer`: `create_api(settings)` is the app without the page."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, FastAPI, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from nls_core import __version__
from nls_core.analysis import choice, focus, requests
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.here import Accelerate
from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.analysis.results import AnalysisRequest
from nls_core.errors import BackendDown, DiskFull
from nls_core.settings import Settings
from nls_core.web.edge import guard, problems, scratch
from nls_core.web.edge.middleware import LOGGED, STRICT, UI_PATH, Metrics
from nls_core.web.edge.problems import Problem
from nls_core.web.edge.reading import visitor_name
from nls_core.web.edge.scratch import Sweeper
from nls_core.web.rest import docs_page, documented, forms, llms_text
from nls_core.web.rest.model_schemas import (
    Health,
    ModelDetail,
    ModelSummary,
    Readiness,
    model_detail,
    model_summary,
)
from nls_core.web.rest.schemas import AnalysisResponse, analysis_response

log = structlog.get_logger("nls_core")
FORM_BYTES = 1_048_576  # what a form may hold beside its file
DESCRIPTION = (
    "Compare image classifiers on one picture: class activation maps, confidence before and after "
    "temperature scaling, and what adversarial perturbations do to both. Strengths ε are in pixel "
    "units of [0, 1] or, where so named, in 1/255. Errors are problem JSON (RFC 9457)."
)


async def _analyzer(request: Request) -> Analyzer:
    analyzer: Analyzer = request.app.state.analyzer
    return analyzer


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def the_visitor(request: Request) -> AsyncIterator[None]:
    """Who asks, for the lanes: gone once the connection is closed before the answer."""
    gone = threading.Event()

    async def watch() -> None:  # the body has been read: all that can come is the end
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    watcher = asyncio.create_task(watch())
    VISITOR.set(
        Visitor(visitor_name(request.scope), gone.is_set)
    )  # in the context of this request alone
    try:
        yield
    finally:
        watcher.cancel()


TheAnalyzer = Annotated[Analyzer, Depends(_analyzer)]
TheMetrics = Annotated[Metrics, Depends(_metrics)]


def _problems(**statuses: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for problems: s404="what it means here", …"""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        int(name.removeprefix("s")): {"description": text, "content": content}
        for name, text in statuses.items()
    }


UNUSABLE = "A model's files are damaged or altered, or something unforeseen."
BUSY = "Too many analyses wait; Retry-After says when to try again."
OFTEN = "This address asks too often; Retry-After says when to try again."
v1 = APIRouter(prefix="/api/v1", tags=["models"])
ops = APIRouter(tags=["operation"])


@v1.get("/models", summary="The models", responses=_problems(s429=OFTEN, s500=UNUSABLE))
def list_models(analyzer: TheAnalyzer) -> list[ModelSummary]:
    """The models that can be used, with what was measured of them; /readyz names the others."""
    usable = [model_id for model_id, state in analyzer.states().items() if state == "ready"]
    return [model_summary(analyzer.manifest(model_id)) for model_id in usable]


@v1.get(
    "/models/{family}/{name}",
    summary="One model",
    responses=_problems(
        s404="No model of that id.",
        s422="A malformed path.",
        s429=OFTEN,
        s500=UNUSABLE,
        s503=BUSY,
    ),
)
def get_model(family: forms.Family, name: forms.Name, analyzer: TheAnalyzer) -> ModelDetail:
    """One model's manifest, and the layers that maps can be taken at."""
    manifest = analyzer.manifest(f"{family}/{name}")
    return model_detail(manifest, analyzer.layers(manifest.id))


@v1.post(
    "/analyze",
    summary="Compare models on one picture",
    response_model=AnalysisResponse,
    dependencies=[Depends(the_visitor)],
    responses=_problems(
        s400="The form cannot be parsed.",
        s404="No model of that id.",
        s413="The upload is too large.",
        s422="A value is outside what is accepted, or the image cannot be decoded.",
        s429=OFTEN,
        s500=UNUSABLE,
        s503=BUSY,
    ),
)
def analyze(
    http: Request,
    *,
    image: forms.Image,
    models: forms.Models,
    mask: forms.Mask = None,
    cam: forms.Cam = AnalysisRequest.cam,
    attack: forms.Attack = AnalysisRequest.attack,
    epsilons: forms.Epsilons = None,
    target_class: forms.TargetClass = None,
    layer: forms.Layer = None,
    attack_target: forms.AttackTarget = None,
    steps: forms.Steps = AnalysisRequest.steps,
    seed: forms.Seed = AnalysisRequest.seed,
    flip_point: forms.FlipPoint = AnalysisRequest.flip_point,
    analyzer: TheAnalyzer,
    metrics: TheMetrics,
) -> Response:
    """Compare models on one picture."""
    with metrics.outcome():
        ids = tuple(part.strip() for part in models.split(","))
        classes = analyzer.manifest(ids[0]).classes
        request = AnalysisRequest(
            models=ids,
            cam=cam,
            layer=layer,
            attack=attack,
            epsilons=requests.epsilons(epsilons, ids[0], attack),
            target_class=requests.class_index(target_class, classes),
            attack_target=requests.class_index(attack_target, classes),
            steps=steps,
            seed=seed,
            flip_point=flip_point,
        )
        data = image.file.read()
        http.scope[LOGGED] = {"image": hashlib.sha256(data).hexdigest()}
        answer = _answer(analyzer, request, data, mask)
    # made here rather than by FastAPI, which would do it in the event loop
    return Response(answer.model_dump_json(), media_type="application/json")


def _answer(
    analyzer: Analyzer, request: AnalysisRequest, data: bytes, mask: UploadFile | None
) -> AnalysisResponse:
    if mask is None:
        return analysis_response(analyzer.analyze(data, request))
    picture = analyzer.decode(data)  # a bad mask is refused before anything is computed
    read = partial(focus.read_mask, mask.file.read(), picture.size, analyzer.settings)
    marked = analyzer.in_decoder(read)
    analysis = analyzer.analyze(picture, request)
    return analysis_response(analysis, focus.score(analysis, marked))


@ops.get("/healthz", summary="Does the process answer?", responses=_problems(s429=OFTEN))
async def health() -> Health:
    """Whether the process answers."""
    return Health(status="alive")


@ops.get(
    "/readyz",
    summary="Are there models and room?",
    response_model=Readiness,
    responses=_problems(s429=OFTEN, s503="Not ready yet."),
)
def ready(request: Request, analyzer: TheAnalyzer) -> Readiness | Response:
    """Whether there are models that can be used, and room for uploads; which are not, and why."""
    try:
        scratch.check_free(analyzer.settings)
        analyzer.backend.check()
    except (DiskFull, BackendDown) as error:
        return problems.problem(request.scope, 503, str(error), kind=type(error))
    states = analyzer.states()
    ready = [state == "ready" for state in states.values()]
    if any(ready):
        return Readiness(status="ready" if all(ready) else "degraded", models=states)
    detail = "expected usable models; got " + ("damaged ones only" if states else "none at all")
    return problems.problem(request.scope, 503, detail, models=states)


@ops.get(
    "/metrics",
    summary="Counts and latencies",
    response_class=PlainTextResponse,
    responses=_problems(s429=OFTEN),
)
def metrics_text(metrics: TheMetrics) -> Response:
    """Counts and latencies in the text format of Prometheus."""
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


@ops.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """The page is at /ui."""
    return RedirectResponse(UI_PATH, 307)


@ops.get("/llms.txt", include_in_schema=False, response_class=PlainTextResponse)
def llms(analyzer: TheAnalyzer) -> str:
    """What is here, for programs that read: https://llmstxt.org."""
    return llms_text.text(analyzer)


@ops.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """The API in words, without scripts from anywhere."""
    policy = {"Content-Security-Policy": f"{STRICT}; style-src {docs_page.STYLE_HASH}"}
    port = request.app.state.analyzer.settings.port
    # not by the request's Host: whoever sends the request says what that is
    page = docs_page.page(
        request.app.openapi(),
        f"http://localhost:{port}",
        header=getattr(request.app.state, "header", ""),
        theme=request.query_params.get("__theme", ""),
    )
    return HTMLResponse(page, headers=policy)


class Api(FastAPI):
    """FastAPI whose OpenAPI text also has the problems, and examples."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI text."""
        if self.openapi_schema is None:
            text = super().openapi()
            text["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            documented.answers(text)
            analyzer: Analyzer = self.state.analyzer
            for family in choice.opening(analyzer.families())[:1]:
                pair = analyzer.pair(family)
                documented.requests(text, pair, analyzer.manifest(pair[0]))
        return super().openapi()


def create_api(
    settings: Settings, accelerate: Accelerate | None = None, *, form_bytes: int = FORM_BYTES
) -> FastAPI:
    """REST, health, metrics and documentation; `app.state.analyzer` does the work.

    Args:
        settings: of the deployment.
        accelerate: see `Analyzer`.
        form_bytes: what a body may hold beside an upload.
    """
    analyzer, metrics, sweeper = Analyzer(settings, accelerate), Metrics(), Sweeper(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with sweeper.running():
            yield

    app = Api(
        title="NLS Lab",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.analyzer, app.state.metrics, app.state.sweeper = analyzer, metrics, sweeper
    app.state.is_full = analyzer.queue.is_full
    for model_id, why in analyzer.check_models().items():
        log.error("model_unusable", model=model_id, why=why)
    analyzer.on_phase, analyzer.on_model = metrics.phase, metrics.model
    metrics.queue.set_function(lambda: analyzer.in_use)
    metrics.cache.set_function(lambda: analyzer.computed.bytes)
    metrics.hooks.set_function(analyzer.hooks)
    metrics.files.set_function(sweeper.count)
    problems.install(app)
    guard.install(app, settings, analyze=f"{v1.prefix}/analyze", form_bytes=form_bytes)
    app.include_router(v1)
    app.include_router(ops)
    return app
