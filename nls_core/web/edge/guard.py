"""The middlewares around the whole app, in their order; what is mounted is within them too."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from nls_core.settings import Settings
from nls_core.web.edge.middleware import UI_PATH, HeadAsGet, Observed
from nls_core.web.edge.rate import Crowd, RateLimit
from nls_core.web.edge.reading import Admission, BodyDeadline, BodyLimit, DiskRoom
from nls_core.web.edge.streams import Streams
from nls_core.web.edge.trust import Hosts, Trusted

UPLOAD = f"{UI_PATH}/gradio_api/upload"


def install(app: FastAPI, settings: Settings, *, analyze: str, form_bytes: int) -> None:
    """Put the middlewares around an app whose `state` has metrics, sweeper and is_full.

    Args:
        app: the app.
        settings: of the deployment.
        analyze: the path whose POST computes.
        form_bytes: what a form may hold beside its file.
    """
    state, most = app.state, settings.max_upload_bytes + form_bytes
    places = settings.max_queue
    room = {"settings": settings, "sweeper": state.sweeper, "upload": UPLOAD, "most": most}
    # the last one added is the outermost
    app.add_middleware(Streams)
    app.add_middleware(DiskRoom, **room)
    app.add_middleware(
        Admission,
        path=analyze,
        places=places,
        is_full=state.is_full,
        refused=state.metrics.analyses.labels("queue full").inc,
    )
    app.add_middleware(BodyLimit, max_bytes=most)
    app.add_middleware(BodyDeadline, seconds=settings.read_seconds)
    app.add_middleware(HeadAsGet, prefix=UI_PATH)
    if settings.rate_limit:
        app.add_middleware(RateLimit, limit=settings.rate_limit, page=UI_PATH)
    app.add_middleware(CORSMiddleware)  # no other origin; without it Gradio allows every one
    app.add_middleware(Crowd)
    app.add_middleware(Trusted, hosts=Hosts(settings))
    app.add_middleware(Observed, metrics=state.metrics)
