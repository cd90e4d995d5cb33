"""REST and the page as one app, and the process that serves it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from importlib.util import find_spec
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from nls_core.analysis.here import Accelerate
from nls_core.analysis.memory import give_back
from nls_core.settings import Settings
from nls_core.web import logs
from nls_core.web.edge import scratch
from nls_core.web.edge.middleware import UI_PATH
from nls_core.web.edge.rate import crowded
from nls_core.web.pages import heads, navigation, site
from nls_core.web.pages.gate import Gate, Limits
from nls_core.web.rest.api import create_api

PATIENCE = 6  # seconds that open requests get at the end; the page's event streams never end
KEEP_ALIVE = 15  # seconds that a connection may wait for its next request; more than Retry-After
# seconds that the computing thread keeps Python for itself while others wait for it, a tenth of
# the usual: each answer waits for it several times, and a refusal took 27 ms instead of 4
SWITCH = 0.0005
STUCK = 60_000  # milliseconds in which a client has to take what is sent to it


def create_app(settings: Settings) -> FastAPI:
    """The whole app: REST under /api/v1, the page at /ui."""
    uploads = scratch.folder(settings, scratch.UPLOADS)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # Gradio reads it from nowhere else
    app = create_api(settings, zero_gpu())
    app.get("/favicon.ico", include_in_schema=False)(
        lambda: FileResponse(settings.static_dir / "favicon.svg", media_type="image/svg+xml")
    )
    app.get(heads.PICTURE, include_in_schema=False)(
        lambda: FileResponse(settings.static_dir / heads.PICTURE.removeprefix("/"))
    )
    if find_spec("mcp"):  # of the extra of that name
        from nls_core.web import tools  # noqa: PLC0415

        tools.install(app, app.state.analyzer)
    page = site.mount(app, app.state.analyzer)
    app.state.sweeper.pin()
    app.state.header = navigation.header_html(navigation.API)  # of /docs
    page.app = Gate(
        heads.Heads(page.app, UI_PATH, navigation.heads()),
        page.app.get_blocks(),  # type: ignore[attr-defined]  # of Gradio's own app
        UI_PATH,
        Limits(
            uploads=uploads,
            shown=(settings.static_dir / "examples",),
            places=settings.max_queue,
            is_full=app.state.is_full,
        ),
    )
    give_back()  # what only the making of pages needed
    return app


def zero_gpu() -> Accelerate | None:
    """What wraps a computation on a ZeroGPU Space, where the package `spaces` is installed."""
    try:
        import spaces  # noqa: PLC0415 - not there outside of Spaces
    except ImportError:
        return None
    wrap: Accelerate = spaces.GPU
    return wrap


def serve(settings: Settings, listener: socket.socket) -> None:
    """Make the app and serve it until interrupted, in one process: Gradio's state lives in it.

    Args:
        settings: of the deployment.
        listener: from `startup.prepare`.
    """
    sys.setswitchinterval(SWITCH)
    logs.configure(settings.scratch_dir)  # first: what is wrong with models is logged too
    app = create_app(settings)
    host = "localhost" if settings.host in ("127.0.0.1", "0.0.0.0", "::") else settings.host  # noqa: S104
    structlog.get_logger("nls_core").info("starting", url=f"http://{host}:{settings.port}")
    uvicorn.Server(configured(app, settings)).run(sockets=[listener])


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How an app is served."""
    Impatient.seconds, Impatient.most = settings.read_seconds, settings.max_connections
    return uvicorn.Config(
        app,
        http=Impatient,
        loop="asyncio",  # also where Ray has brought uvloop: one server, whatever is installed
        ws="none",
        log_config=None,  # by `logs`; requests are logged by the app
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=PATIENCE,
        # by default it believes whoever asks from this machine
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[*settings.trusted_proxies],
    )


class Impatient(H11Protocol):
    """HTTP whose connections have to send a request's head within `seconds`.

    Of uvicorn's two parsers this one bounds a head's bytes; neither bounds its time. Connections
    beyond `most` are marked; uvicorn's own bound says 503 to health checks too, and not until when.
    """

    seconds: float = 30
    most: int = 512

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and sys.platform.startswith("linux"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK)
        if len(self.connections) > self.most:
            self.app = crowded(self.app)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop waiting when a head is there, and wait for the next one after its answer."""
        super().data_received(data)
        if self._busy():
            self._stop_waiting()
        elif self._patience is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._patience = self.loop.call_later(self.seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        if not self._busy():
            self.transport.close()
