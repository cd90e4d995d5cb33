"""The Model Context Protocol, asked by its own client."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from fastapi import FastAPI
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.settings import Settings
from nls_core.web import tools
from nls_core.web.rest.api import create_api
from tests.conftest import TINY, picture_bytes

T = TypeVar("T")


def asked(models_dir: Path, ask: Callable[[ClientSession], Awaitable[T]]) -> T:
    """What a client gets from an app of its own, in one event loop."""

    async def talk() -> T:
        app = create_api(Settings(models_dir=models_dir, device="cpu"))
        tools.install(app, app.state.analyzer)
        url = f"http://localhost{tools.PATH}"
        async with (
            app.router.lifespan_context(app),
            client_of(app) as client,
            streamable_http_client(url, http_client=client) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await ask(session)

    return asyncio.run(talk())


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app))


def test_the_one_tool_is_listed_with_what_it_takes(models_dir: Path) -> None:
    (tool,) = asked(models_dir, lambda session: session.list_tools()).tools
    assert tool.name == "compare"
    assert "flip point" in (tool.description or "")
    given = tool.inputSchema["properties"]
    assert list(given) == ["image", "models", "attack", "epsilons"]
    assert all(each["description"] for each in given.values())
    assert tool.inputSchema["required"] == ["image"]


def test_it_answers_as_the_analyzer_does(models_dir: Path, analyzer: Analyzer) -> None:
    image = "data:image/png;base64," + base64.b64encode(picture_bytes()).decode()
    given = {"image": image, "models": ",".join(TINY), "epsilons": "2"}
    answer = asked(models_dir, lambda session: session.call_tool("compare", given))
    assert not answer.isError
    told = answer.structuredContent
    assert told is not None
    wanted = analyzer.analyze(
        picture_bytes(), AnalysisRequest(TINY, epsilons=(2 / 255,), flip_point=True)
    )
    for got, model in zip(told["models"], wanted.models, strict=True):
        assert got["prediction"]["confidence"] == pytest.approx(model.prediction.confidence)
        (point,) = got["sweep"]
        assert point["success"] == model.sweep[0].success
        assert "adversarial_png" not in point
    assert told["in_words"]
    assert len(str(answer)) < 20_000


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"image": "http://localhost/a.png"}, "got neither"),
        ({"image": "/etc/passwd"}, "got neither"),
        ({"image": "AAAA"}, "expected an image file"),
        ({"image": "photos/../../pyproject.toml"}, "got neither"),
        ({"image": "fashion/bag-0018.png", "models": "tiny/none"}, "unknown model"),
        ({"image": "fashion/bag-0018.png", "attack": "nuke"}, "unknown attack"),
        ({}, "image"),
    ],
)
def test_errors_are_told_and_nothing_is_fetched(
    models_dir: Path, given: dict[str, Any], why: str
) -> None:
    answer = asked(models_dir, lambda session: session.call_tool("compare", given))
    assert answer.isError
    assert why in answer.content[0].text


def test_other_methods_are_refused_and_no_stream_is_opened(models_dir: Path) -> None:
    async def get() -> list[int]:
        app = create_api(Settings(models_dir=models_dir, device="cpu"))
        tools.install(app, app.state.analyzer)
        async with app.router.lifespan_context(app), client_of(app) as client:
            url = f"http://localhost{tools.PATH}"
            return [
                (await client.get(url)).status_code,
                (await client.delete(url)).status_code,
                (await client.post(url, headers={"Origin": "http://evil.example"})).status_code,
                (await client.post(url, headers={"Host": "evil.example"})).status_code,
            ]

    assert asyncio.run(get()) == [405, 405, 403, 421]
