"""Helpers of the REST tests."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from nls_core.analysis.results import AnalysisRequest
from tests.conftest import TINY, picture_bytes

ANALYZE = "/api/v1/analyze"
FORM = {"models": ",".join(TINY), "epsilons": "1,8", "steps": "3"}
REQUEST = AnalysisRequest(models=TINY, epsilons=(1 / 255, 8 / 255), steps=3)  # the same


def post(client: TestClient, image: bytes | None = None, /, **form: str) -> Any:
    """POST /analyze with `picture_bytes` and `FORM` where nothing else is given."""
    files = {"image": ("picture.png", picture_bytes() if image is None else image)}
    return client.post(ANALYZE, data=FORM | form, files=files)


def check_problem(response: Any, status: int) -> dict[str, Any]:
    """Assert that a response is a problem of this status, with the headers of every response."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"] == "about:blank" or body["type"].startswith("/docs#")
    assert {"title", "detail", "instance"} <= set(body)
    assert body["detail"]
    assert response.headers["x-content-type-options"] == "nosniff"
    return body
