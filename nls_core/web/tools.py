"""The Model Context Protocol at /mcp: one tool, `compare`, for programs that talk with models.

Not Gradio's server of it: that fetches any address that a picture is said to have, and calls
itself under the name that a request gives.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
import structlog
from fastapi import FastAPI
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from nls_core.analysis import choice, requests
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.examples import read_examples
from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.analysis.results import AnalysisRequest
from nls_core.errors import ImageRejected, NLSLabError
from nls_core.views import sentences
from nls_core.web.edge.reading import visitor_name
from nls_core.web.rest.schemas import analysis_response

PATH = "/mcp"
ABOUT = (
    "NLS Lab compares image classifiers trained with and without normalized soft labels: how sure "
    "they are, whether that is deserved, and what adversarial perturbations do to both."
)
_PIXELS: Any = {"cam", "adversarial_png"}  # of no use to who reads
_LEFT_OUT: Any = {"models": {"__all__": {"cam": True, "sweep": {"__all__": _PIXELS}}}}
log = structlog.get_logger("nls_core")

Image = Annotated[
    str,
    Field(
        description="A picture as base64 or data URI (JPEG, PNG, WebP, GIF or BMP), or the name "
        "of a bundled one, such as photos/dog-kemperman.jpg. Addresses are not fetched."
    ),
]
Models = Annotated[
    str, Field(description="Comma-separated model ids of one family; empty: the opening pair.")
]
Attack = Annotated[str, Field(description="Attack: pgd-linf, pgd-l2, fgsm, square, …")]
Epsilons = Annotated[
    str,
    Field(description="Comma-separated strengths in 1/255; empty: the family's; 'none': none."),
]


class Tools:
    """What the tool does, around one `Analyzer`."""

    def __init__(self, analyzer: Analyzer) -> None:
        folder = analyzer.settings.static_dir / "examples"
        self.analyzer = analyzer
        self.bundled = {
            e.path.relative_to(folder).as_posix(): e.path for e in read_examples(analyzer.settings)
        }

    def picture(self, text: str) -> bytes:
        """A bundled picture's bytes, or those that base64 stands for.

        Raises:
            ImageRejected: it is neither.
        """
        if text in self.bundled:
            return self.bundled[text].read_bytes()
        try:
            return base64.b64decode(text.rpartition(",")[2], validate=True)
        except (binascii.Error, ValueError):
            raise ImageRejected(
                "expected a picture in base64, or the name of a bundled one, such as "
                f"{next(iter(self.bundled))}; got neither"
            ) from None

    def compare(self, image: str, models: str, attack: str, epsilons: str) -> dict[str, Any]:
        """The answer of REST without its pictures, and what happened in words."""
        pair = self.analyzer.pair(choice.opening(self.analyzer.families())[0])
        ids = tuple(part.strip() for part in models.split(",")) if models else pair
        request = AnalysisRequest(
            models=tuple(dict.fromkeys(ids)),
            attack=attack,
            epsilons=requests.epsilons(epsilons or None, ids[0], attack),
            flip_point=True,
        )
        analysis = self.analyzer.analyze(self.picture(image), request)
        told = analysis_response(analysis).model_dump(mode="json", exclude=_LEFT_OUT)
        return {"in_words": sentences.sentence(analysis), **told}


def server(analyzer: Analyzer) -> FastMCP:
    """The server with its one tool."""
    # what is to be kept out is kept out for all routes: web/edge/trust.py
    trust = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    made = FastMCP("NLS Lab", ABOUT, transport_security=trust)
    tools = Tools(analyzer)

    @made.tool()
    async def compare(
        context: Context[Any, Any, Any],
        image: Image,
        models: Models = "",
        attack: Attack = AnalysisRequest.attack,
        epsilons: Epsilons = "",
    ) -> dict[str, Any]:
        """Compare image classifiers on one picture.

        For each model: its label and probabilities, its confidence before and after temperature
        scaling, its prediction set, whether the picture is perhaps of none of its classes, what an
        adversarial attack does to it at each strength, and its flip point: the smallest strength
        found at which PGD changes the label.
        """
        request = context.request_context.request
        VISITOR.set(Visitor(visitor_name(request.scope) if request else "mcp"))
        try:
            return await anyio.to_thread.run_sync(tools.compare, image, models, attack, epsilons)
        except NLSLabError as error:
            raise ToolError(str(error)) from None
        except Exception as error:
            log.error("tool_failed", exc_info=error)
            raise ToolError("this failed; the server's log says why") from None

    return made


class _Endpoint:
    """ASGI for one path; each request stands alone, so that nothing is kept for who went."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self.manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["nls.route"] = PATH  # for the log
        await self.manager.handle_request(scope, receive, send)


def install(app: FastAPI, analyzer: Analyzer) -> None:
    """Answer POST /mcp."""
    manager = StreamableHTTPSessionManager(
        server(analyzer)._mcp_server,  # noqa: SLF001 - what FastMCP's own app does
        json_response=True,
        stateless=True,
    )
    # no GET: it would open a stream that never ends
    app.router.routes.append(Route(PATH, _Endpoint(manager), methods=["POST"]))
    before = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with before(app) as state, manager.run():
            yield state

    app.router.lifespan_context = lifespan
