"""REST and the page as one app, and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
import sys

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse

from nls_core import ui
from nls_core.analyzer import Accelerate
from nls_core.api import create_api
from nls_core.settings import Settings

PATIENCE = 3  # seconds that open requests get at the end; the page's event streams never end


def create_app(settings: Settings) -> FastAPI:
    """The whole app: REST under /api/v1, the page at /ui."""
    app = create_api(settings, zero_gpu())
    app.get("/favicon.ico", include_in_schema=False)(
        lambda: FileResponse(settings.static_dir / "favicon.svg", media_type="image/svg+xml")
    )
    return ui.mount(app, app.state.analyzer)


def zero_gpu() -> Accelerate | None:
    """What wraps a computation on a ZeroGPU Space, where the package `spaces` is installed."""
    try:
        import spaces  # noqa: PLC0415 - not there outside of Spaces
    except ImportError:
        return None
    wrap: Accelerate = spaces.GPU
    return wrap


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until interrupted: one worker, since Gradio keeps its state in the process."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    host = "localhost" if settings.host in ("127.0.0.1", "0.0.0.0", "::") else settings.host  # noqa: S104
    structlog.get_logger("nls_core").info("starting", url=f"http://{host}:{settings.port}")
    logging.getLogger("uvicorn.error").addFilter(_worth_telling)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,  # warnings and errors go to stderr; requests are logged by the app
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )


def _worth_telling(record: logging.LogRecord) -> bool:
    """Cutting the page's event streams at the end is no error."""
    cause = record.exc_info[1] if record.exc_info else None
    return not isinstance(cause, asyncio.CancelledError)
