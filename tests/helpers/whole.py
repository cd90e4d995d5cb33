"""The whole app, REST and the page, within the tests' own process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from starlette.testclient import TestClient

from nls_core.settings import Settings


@contextmanager
def whole_app(settings: Settings) -> Iterator[TestClient]:
    """A client of it."""
    from nls_core.web.server import create_app

    async def make() -> FastAPI:  # outside a running loop Gradio opens loops and leaves them open
        return create_app(settings)

    with TestClient(asyncio.run(make())) as client:
        yield client
