"""A front and the server that computes for it: one answer, and what happens when it fails."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from nls_core import cams, zoo
from nls_core.analysis import masking, wire
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.borders import PaddingMaps
from nls_core.analysis.features import Features
from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.analysis.remote import PATH, Remote
from nls_core.analysis.results import Analysis, AnalysisRequest
from nls_core.errors import (
    BackendDown,
    CheckpointError,
    Departed,
    InvalidInput,
    NLSLabError,
    QueueFull,
    TooCostly,
    UnknownName,
)
from nls_core.images import Prepared
from nls_core.settings import Settings
from nls_core.web.bench.process import free_port
from nls_core.web.pages.compare_work import Compare
from nls_core.web.rest.api import create_api
from nls_core.web.rest.backend import NOWHERE, create_backend
from tests.conftest import TINY, make_model, picture_bytes, tiny_manifest
from tests.helpers.backends import answering, free_socket, url_of
from tests.helpers.rest import REQUEST, check_problem, post
from tests.helpers.sameness import same
from tests.helpers.whole import whole_app

WHOLE = replace(REQUEST, flip_point=True, cam="layercam", target_class=3)
LONG = AnalysisRequest(models=TINY, attack="square", epsilons=(1 / 255,), steps=100)


def front(url: str, models_dir: Path, **more: object) -> Analyzer:
    settings = Settings(models_dir=models_dir, device="cpu", backend_url=url)
    return Analyzer(settings.model_copy(update={"max_cache_bytes": 0} | more))


@pytest.fixture(scope="module")
def behind(models_dir: Path) -> FastAPI:
    return create_backend(Settings(models_dir=models_dir, device="cpu"))


@pytest.fixture(scope="module")
def backend_url(behind: FastAPI) -> Iterator[str]:
    with answering(behind) as url:
        yield url


@pytest.fixture(scope="module")
def remote(backend_url: str, models_dir: Path) -> Analyzer:
    return front(backend_url, models_dir)


def timeless(analysis: Analysis) -> Analysis:
    return replace(analysis, seconds=0.0)


@pytest.mark.parametrize("request_", [REQUEST, WHOLE, replace(REQUEST, epsilons=())])
def test_an_analysis_is_that_of_this_process(
    remote: Analyzer, analyzer: Analyzer, request_: AnalysisRequest
) -> None:
    for picture in (picture_bytes(), Image.new("RGB", (40, 30), (9, 90, 200))):
        got = remote.analyze(picture, request_)
        assert same(timeless(got), timeless(analyzer.analyze(picture, request_)))


def test_every_other_work_gives_the_same(
    remote: Analyzer, analyzer: Analyzer, analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "QUERIES", 20)
    assert same(masking.compare(remote, analysis, 2), masking.compare(analyzer, analysis, 2))
    picture = Image.new("RGB", (28, 28), (90, 9, 200))
    embedded = [Features(each).embedding(TINY[0]) for each in (remote, analyzer)]
    assert same(*embedded)
    assert same(*(Features(a).place(embedded[0], picture) for a in (remote, analyzer)))


def test_maps_of_both_paddings_are_the_same(tmp_path: Path, models_dir: Path) -> None:
    for padding in ("zero", "partial"):
        zoo.store(make_model(padding=padding).net, tiny_manifest(f"tiny/ce-{padding}"), tmp_path)
    (tmp_path / "tiny").mkdir(exist_ok=True)
    shutil.copy(models_dir / "tiny" / "sample.npz", tmp_path / "tiny")
    here = Analyzer(Settings(models_dir=tmp_path, device="cpu"))
    with answering(create_backend(here.settings)) as url:
        there = front(url, tmp_path)
        layer = here.layers("tiny/ce-zero")[0]
        method = next(iter(cams.quick()))
        pages = [PaddingMaps(each) for each in (there, here)]
        assert same(*(page.ratios("tiny/ce") for page in pages))
        assert same(*(page.borders("tiny/ce", method, layer) for page in pages))


def test_the_page_shows_the_same(remote: Analyzer, analyzer: Analyzer) -> None:
    shown = []
    for work in (Compare(remote), Compare(analyzer)):
        values = work.start("tiny")
        shown.append(work.show(replace(work.analyze(values), seconds=0.0), values))
    assert shown[0] == shown[1]


def test_what_came_once_is_kept_here(backend_url: str, models_dir: Path) -> None:
    there = front(backend_url, models_dir, max_cache_bytes=10_000_000)
    first = there.analyze(picture_bytes(), REQUEST)
    there.backend = Remote(f"http://127.0.0.1:{free_port()}", there.manifest)
    assert same(timeless(there.analyze(picture_bytes(), REQUEST)), timeless(first))


def test_a_refusal_there_is_the_same_error_here(
    remote: Analyzer, behind: FastAPI, models_dir: Path
) -> None:
    with pytest.raises(UnknownName, match="unknown layer 'x'; expected one of"):
        remote.analyze(picture_bytes(), replace(REQUEST, layer="x"))
    queue = behind.state.analyzer.queue
    with ExitStack() as stack:
        for _ in range(queue.capacity):
            stack.enter_context(queue.place())
        with pytest.raises(QueueFull, match="16 works wait or run already"):
            remote.analyze(picture_bytes(), REQUEST)
    dear = Settings(models_dir=models_dir, device="cpu", max_seconds=1e-6)
    with answering(create_backend(dear)) as url, pytest.raises(TooCostly, match="one model would"):
        front(url, models_dir).analyze(picture_bytes(), REQUEST)


def test_other_weights_are_refused(remote: Analyzer, tmp_path: Path) -> None:
    for model_id in TINY:
        made = tiny_manifest(model_id)
        zoo.store(make_model(seed=9, padding=made.padding).net, made, tmp_path)
    other = front(remote.settings.backend_url, tmp_path)
    with pytest.raises(CheckpointError, match="other weights of tiny/ce-zero"):
        other.analyze(picture_bytes(), REQUEST)


def test_work_stops_there_once_the_visitor_here_has_left(
    remote: Analyzer, behind: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()
    there: Analyzer = behind.state.analyzer
    compute = there.answer

    def watched(*asked: object) -> object:
        begun.set()
        assert VISITOR.get().name == "somebody"
        try:
            return compute(*asked)  # type: ignore[arg-type]
        except Departed:
            ended.set()
            raise

    monkeypatch.setattr(there, "answer", watched)
    token = VISITOR.set(Visitor("somebody", begun.is_set))
    try:
        with pytest.raises(Departed):
            remote.analyze(picture_bytes(), LONG)
    finally:
        VISITOR.reset(token)
    assert ended.wait(30)


def test_a_backend_that_is_down_is_said_and_survived(behind: FastAPI, models_dir: Path) -> None:
    bound = free_socket()
    settings = Settings(models_dir=models_dir, device="cpu", backend_url=url_of(bound))
    with TestClient(create_api(settings)) as client:
        problem = check_problem(client.get("/readyz"), 503)
        assert problem["title"] == "Backend unreachable"
        answer = post(client)
        assert "NLS_BACKEND_URL=http://127.0.0.1" in check_problem(answer, 503)["detail"]
        assert answer.headers["retry-after"]
        assert client.get("/healthz").status_code == 200
        assert client.get("/api/v1/models/" + TINY[0]).status_code == 200
        with answering(behind, bound):
            assert client.get("/readyz").json()["status"] == "ready"
            assert post(client).status_code == 200
        with pytest.raises(BackendDown, match="cannot be used now"):
            Compare(front(settings.backend_url, models_dir)).clean(
                Compare(front(settings.backend_url, models_dir)).start("tiny")
            )


def test_the_page_opens_without_its_backend(models_dir: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    settings = Settings(models_dir=models_dir, device="cpu", backend_url=url, scratch_dir=tmp_path)
    with whole_app(settings) as client:
        assert client.get("/ui/").status_code == 200
        assert "Backend unreachable" in client.get("/readyz").text


@pytest.mark.parametrize(
    ("status", "error"), [(200, BackendDown), (404, BackendDown), (503, QueueFull)]
)
def test_what_is_no_backend_is_said(
    models_dir: Path, status: int, error: type[NLSLabError]
) -> None:
    with answering(PlainTextResponse("hello", status)) as url:
        there = front(url, models_dir)
        with pytest.raises(error):
            there.analyze(picture_bytes(), REQUEST)
        if status != 200:
            with pytest.raises(BackendDown, match=f"it answers {status}"):
                there.backend.check()


SHA = "s" * 64
X = torch.zeros(1, 1, 28, 28)


@pytest.mark.parametrize(
    ("what", "asked", "status", "words"),
    [
        ("analyze", [1], 422, "expected a dict; got list"),
        ("analyze", {"visitor": "a"}, 422, "expected the field models"),
        ("analyze", {"visitor": "a", "models": {}, "x": X}, 422, "expected the field request"),
        ("analyze", {"visitor": "a", "models": {}, "x": X, "request": {"models": 1}}, 422, "a req"),
        ("analyze", {"visitor": "a", "models": {TINY[0]: SHA}}, 500, "other weights"),
        ("run", {"visitor": "a", "models": {}, "work": "exec"}, 422, "unknown work 'exec'"),
        ("run", {"visitor": "a", "models": {}, "work": "answer"}, 422, "one model"),
    ],
)
def test_a_malformed_question_is_a_problem(
    behind: FastAPI, what: str, asked: object, status: int, words: str
) -> None:
    with TestClient(behind) as client:
        answer = client.post(f"{PATH}/{what}", content=wire.pack(asked))
        assert words in check_problem(answer, status)["detail"]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(1, 3, 28, 28), r"got \(1, 3, 28, 28\), torch.float32"),
        (X.double(), "float64"),
        (X - 1, "values outside"),
        (X * np.nan, "values outside"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_input_is_refused(analyzer: Analyzer, x: torch.Tensor, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        analyzer.answer(Prepared(x, NOWHERE, ()), REQUEST)
