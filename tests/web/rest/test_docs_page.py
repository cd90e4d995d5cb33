"""The OpenAPI text, the page made from it, and fuzzing by it."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import jsonschema_rs
import pytest
from fastapi import FastAPI
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.settings import Settings
from nls_core.web.edge import problems
from nls_core.web.rest import docs_page, documented
from nls_core.web.rest.api import create_api
from nls_core.web.rest.schemas import AnalysisResponse
from tests.conftest import TINY, picture_bytes
from tests.helpers.described import LEFT_OUT, fuzz, operations
from tests.helpers.rest import ANALYZE, FORM, check_problem, post
from tests.helpers.scripts import script

ROUTES = [
    "GET /api/v1/models",
    "GET /api/v1/models/{family}/{name}",
    "POST /api/v1/analyze",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
]


def test_openapi_describes_errors_as_problems(client: TestClient) -> None:
    text = client.get("/openapi.json").json()
    schemas = text["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    assert {"type", "title", "status", "detail", "instance"} <= set(schemas["Problem"]["required"])
    for path, methods in text["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], path
    body = schemas[next(name for name in schemas if name.startswith("Body_"))]
    assert body["properties"]["cam"]["enum"] == list(CAMS)
    assert body["properties"]["attack"]["enum"] == list(ATTACKS)


# what nobody can provoke: no parameter of the path is malformed for the app; a bug of ours
WITHOUT = {("/api/v1/models/{family}/{name}", "422"), ("/api/v1/models", "500")}


def test_every_answer_has_an_example_that_fits_its_schema(client: TestClient) -> None:
    text = client.get("/openapi.json").json()
    bare = set()
    for path, methods in text["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                for content in answer["content"].values():
                    if "example" not in content:
                        bare.add((path, status))
                        continue
                    schema = content["schema"] | {"components": text["components"]}
                    jsonschema_rs.validate(schema, content["example"])
                    assert int(status) < 400 or content["example"]["status"] == int(status)
    assert bare == WITHOUT


def test_every_field_is_described(client: TestClient) -> None:
    text = client.get("/openapi.json").json()
    schemas = text["components"]["schemas"]
    fields = [(n, f, v) for n, s in schemas.items() for f, v in s["properties"].items()]
    assert [(name, field) for name, field, value in fields if "description" not in value] == []
    for methods in text["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert all("description" in each for each in operation.get("parameters", ()))


def test_the_examples_of_a_request_are_accepted(client: TestClient) -> None:
    text = client.get("/openapi.json").json()
    schemas = text["components"]["schemas"]
    body = schemas[next(name for name in schemas if name.startswith("Body_"))]["properties"]
    form = {name: str(v["examples"][0]) for name, v in body.items() if "examples" in v}
    assert {"models", "cam", "attack", "epsilons", "target_class", "steps", "seed"} < set(form)
    answer = client.post(ANALYZE, data=form, files={"image": picture_bytes()})
    assert answer.status_code == 200, answer.text
    asked = answer.json()["request"]
    assert asked["models"] == form["models"].split(",")
    assert (asked["target_class"], asked["flip_point"]) == (0, True)


def test_the_example_answer_is_what_the_shipped_models_say() -> None:
    script_of = script("make_api_examples")
    known = json.loads(documented.EXAMPLES.read_text("utf-8"))[ANALYZE]["200"]
    with TestClient(create_api(Settings(device="cpu")), script_of.LOCAL) as shipped:
        files = {"image": (script_of.PICTURE.name, script_of.PICTURE.read_bytes())}
        now = shipped.post(ANALYZE, data=script_of.REQUEST, files=files).json()
    AnalysisResponse.model_validate(known)
    assert now["request"] == known["request"]
    for one, other in zip(now["models"], known["models"], strict=True):
        assert one["id"] == other["id"]
        for a, b in ((one, other), (one["sweep"][0], other["sweep"][0])):
            assert a["prediction"]["label"] == b["prediction"]["label"]
            wanted = pytest.approx(b["prediction"]["confidence"], abs=0.02)
            assert a["prediction"]["confidence"] == wanted


def test_the_documentation_page_is_whole_and_loads_nothing(client: TestClient) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    page, text = response.text, client.get("/openapi.json").json()
    assert "<script" not in page
    assert re.findall(r"(?:src|href)=[\"']?([^\"'>]+)", page) == ["/ui", "/openapi.json"]
    assert "url(" not in page
    for path, methods in text["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page
    schemas = text["components"]["schemas"]
    body = schemas[next(name for name in schemas if name.startswith("Body_"))]
    assert set(FORM) < set(body["properties"])
    for name in body["properties"]:
        assert f"<td>{name} (" in page
    kind = check_problem(post(client, cam="magic"), 422)["type"].partition("#")[2]
    assert f'id="{kind}"' in page
    for error in problems.error_types():
        assert f"<td>{error.title}</td><td>{error.status}</td>" in page


def test_the_curl_command_works(client: TestClient, api: FastAPI) -> None:
    page = docs_page.page(api.openapi(), "http://testserver/")
    command = next(
        c for c in re.findall("<pre[^>]*>(curl.*?)</pre>", page, re.DOTALL) if "POST" in c
    )
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:4] == ["curl", "-X", "POST", f"http://testserver{ANALYZE}"]
    fields = dict(word.split("=", 1) for word in words[4:] if word != "-F")
    assert fields.pop("image") == "@photo.jpg"
    assert post(client, **fields).status_code == 200


def test_the_documentation_page_escapes_everything(api: FastAPI) -> None:
    evil = '"><script>alert(1)</script>'
    text = json.dumps(api.openapi())
    hostile = json.loads(text.replace("Comma-separated", json.dumps(evil)[1:-1]))
    hostile["info"] = {"title": evil, "version": evil, "description": evil}
    hostile["paths"][f"/{evil}"] = {"get": {"description": evil, "responses": {}}}
    page = docs_page.page(hostile, f"http://{evil}")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


@pytest.fixture(scope="module")
def described(api: FastAPI) -> dict[str, Any]:
    """The operations of the app's own OpenAPI text, by method and path."""
    return operations(api)


def test_the_description_has_exactly_these_routes(described: dict[str, Any]) -> None:
    assert sorted(described) == sorted(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_keeps_to_its_description(described: dict[str, Any], route: str) -> None:
    fuzz(described[route], GenerationMode.POSITIVE)


def test_malformed_forms_keep_to_the_description(described: dict[str, Any]) -> None:
    assert 200 not in fuzz(described["POST /api/v1/analyze"], GenerationMode.NEGATIVE)


def test_forms_around_a_picture_keep_to_the_description(described: dict[str, Any]) -> None:
    right = {"image": picture_bytes(), "models": TINY[0], "epsilons": "2", "steps": 1}
    seen = fuzz(described["POST /api/v1/analyze"], GenerationMode.POSITIVE, right, LEFT_OUT)
    assert set(seen) == {200}


def test_the_examples_ask_for_models_that_are_served(client: TestClient) -> None:
    page = client.get("/docs").text
    assert f"-F models={','.join(TINY)}" in page
    assert f"/api/v1/models/{TINY[0]}" in page
    assert client.get(f"/api/v1/models/{TINY[0]}").status_code == 200
