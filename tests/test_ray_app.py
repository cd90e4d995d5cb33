"""REST on Ray Serve: the answers of one process, and a refusal where it is full.

One local Ray serves all of it: it takes some 20 s to start, most of them Ray's own.
"""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from nls_core.analysis.analyzer import Analyzer
from nls_core.errors import ExtraMissing
from nls_core.settings import Settings
from nls_core.web.bench import scaling
from nls_core.web.bench.process import App, multipart, serving
from tests.conftest import TINY, picture_bytes
from tests.helpers.rest import ANALYZE, FORM, REQUEST
from tests.helpers.sameness import same

PLACES = 2
DEAR = {"steps": "30", "epsilons": "1,2,3,4,5,6,7,8"}  # much longer than a refusal


@pytest.fixture(scope="module")
def ray(models_dir: Path) -> Iterator[App]:
    """Ray with one replica over the tiny models, which has two places."""
    own = {"NLS_MODELS_DIR": str(models_dir), "NLS_DEVICE": "cpu", "NLS_MAX_QUEUE": str(PLACES)}
    scale = {"NLS_RAY_MAX_REPLICAS": "1", "RAY_OBJECT_STORE_MEMORY": "80000000"}
    with serving(("-m", "nls_core.ray_app"), **own, **scale) as app:
        yield app


def ask(app: App, **form: str) -> tuple[http.client.HTTPResponse, bytes]:
    """POST /analyze, with the headers of its answer."""
    body, headers = multipart(FORM | form | {"image": ("picture.png", picture_bytes())})
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=120)
    try:
        connection.request("POST", ANALYZE, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def timeless(data: bytes) -> Any:
    found = json.loads(data)
    if "seconds" in found:
        found["seconds"] = 0
    return found


@pytest.mark.parametrize(
    "form", [{}, {"epsilons": "none"}, {"flip_point": "true"}, {"cam": "nope"}, {"models": "a/b-c"}]
)
def test_answers_are_those_of_one_process(
    ray: App, client: TestClient, form: dict[str, str]
) -> None:
    answer, data = ask(ray, **form)
    files = {"image": ("picture.png", picture_bytes())}
    wanted = client.post(ANALYZE, data=FORM | form, files=files)
    assert answer.status == wanted.status_code
    assert timeless(data) == timeless(wanted.content)
    assert answer.headers["content-type"] == wanted.headers["content-type"]
    assert answer.headers["content-security-policy"] == wanted.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/api/v1/models", f"/api/v1/models/{TINY[0]}", "/readyz"])
def test_what_is_there_is_told_as_by_one_process(ray: App, client: TestClient, path: str) -> None:
    assert ray.ask("GET", path).json() == client.get(path).json()


def test_whoever_finds_no_place_is_told_when_to_come_again(ray: App) -> None:
    with ThreadPoolExecutor(3 * PLACES) as pool:
        answers = list(pool.map(lambda seed: ask(ray, **DEAR, seed=seed), map(str, range(6))))
    statuses = [answer.status for answer, _ in answers]
    assert set(statuses) == {200, 503}
    for answer, data in answers:
        if answer.status == 503:
            assert answer.headers["content-type"] == "application/problem+json"
            assert 1 <= int(answer.headers["retry-after"]) <= 10
            assert json.loads(data)["title"] == "Queue full"
    assert ask(ray)[0].status == 200


def test_a_front_lets_it_compute(ray: App, analyzer: Analyzer) -> None:
    url = f"http://127.0.0.1:{ray.port}"
    settings = Settings(models_dir=analyzer.settings.models_dir, device="cpu", backend_url=url)
    front = Analyzer(settings)
    front.backend.check()
    picture = Image.open(io.BytesIO(picture_bytes()))
    got, wanted = (each.analyze(picture, REQUEST) for each in (front, analyzer))
    assert same(replace(got, seconds=0.0), replace(wanted, seconds=0.0))


def test_a_load_on_it_is_counted_with_all_its_processes(ray: App) -> None:
    what = scaling.Load("prediction and map", ",".join(TINY), 2, 1.0)
    own = ray.spent()
    (row,) = scaling.under(what, {scaling.ALONE: ray}, rounds=1)
    assert (row.server, row.clients, row.beside) == (scaling.ALONE, 2, 1.0)
    assert row.per_second > 0
    assert row.cpu_ms > 0
    assert ray.spent_by_all() > ray.spent() >= own  # the replica is a process of its own


def test_a_batch_is_measured(analyzer: Analyzer) -> None:
    found = scaling.batching(analyzer, TINY[0], 1)
    assert found.alone_ms > 0
    assert found.in_a_batch_ms > 0


def test_without_ray_the_measuring_says_what_to_install(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"pip install 'nls-lab\[ray\]'"):
        scaling.run(analyzer, quick=True)
