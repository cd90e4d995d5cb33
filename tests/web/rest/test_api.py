"""REST: numbers equal to the analyzer's, and refusals as problems."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog
from fastapi import FastAPI
from starlette.testclient import TestClient

from nls_core import listing, zoo
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.settings import Settings
from nls_core.web.rest.api import create_api
from nls_core.web.rest.schemas import analysis_response
from tests.conftest import TINY, picture_bytes
from tests.helpers.rest import ANALYZE, FORM, REQUEST, check_problem, post


def test_the_list_has_every_model_with_its_metrics(client: TestClient, models_dir: Path) -> None:
    listed = client.get("/api/v1/models").json()
    assert [model["id"] for model in listed] == list(TINY)
    for model in listed:
        manifest = zoo.read_manifest(model["id"], models_dir)
        assert model["metrics"] == manifest.metrics
        assert model["classes"] == list(manifest.classes)
        assert model["family"] == "tiny"


@pytest.mark.parametrize("model_id", TINY)
def test_a_model_is_its_manifest_and_layers(
    client: TestClient, api: FastAPI, models_dir: Path, model_id: str
) -> None:
    got = client.get(f"/api/v1/models/{model_id}").json()
    layers = got.pop("layers")
    assert layers == list(api.state.analyzer.layers(model_id))
    written = json.loads((models_dir / model_id / listing.CONFIG).read_text(encoding="utf-8"))
    assert got == written


def test_the_answer_has_the_analyzers_numbers(client: TestClient, api: FastAPI) -> None:
    response = post(client)
    assert response.status_code == 200, response.text
    got = response.json()
    analysis = api.state.analyzer.analyze(picture_bytes(), REQUEST)
    wanted = analysis_response(analysis).model_dump(mode="json")
    assert got.pop("seconds") > 0
    wanted.pop("seconds")
    assert got == wanted
    for shown, model in zip(got["models"], analysis.models, strict=True):
        assert list(shown["prediction"]["probabilities"]) == list(model.manifest.classes)
        probabilities = list(shown["prediction"]["probabilities"].values())
        assert probabilities == model.prediction.probabilities.tolist()
        assert shown["cam"]["values"] == model.cam.values.tolist()


@pytest.mark.parametrize("target", ["3", "d"])
def test_classes_go_by_index_or_name(client: TestClient, target: str) -> None:
    got = post(client, target_class=target, attack_target=target, epsilons="0").json()
    assert got["request"]["target_class"] == got["request"]["attack_target"] == 3
    for model in got["models"]:
        assert (model["cam"]["target_class"], model["cam"]["target_label"]) == (3, "d")


@pytest.mark.parametrize("cam", CAMS)
def test_every_map_is_offered(client: TestClient, api: FastAPI, cam: str) -> None:
    layer = api.state.analyzer.layers(TINY[0])[0]
    got = post(client, cam=cam, layer=layer, epsilons="4").json()
    assert {m["cam"]["method"] for m in got["models"]} == {cam}
    assert {m["cam"]["layer"] for m in got["models"]} == {layer}


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_is_offered(client: TestClient, attack: str) -> None:
    got = post(client, attack=attack, epsilons="4", seed="5").json()
    assert (got["request"]["attack"], got["request"]["seed"]) == (attack, 5)
    assert all(p["linf"] > 0 for m in got["models"] for p in m["sweep"])


def test_parallel_requests_are_answered_alike(client: TestClient) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = [r.json() for r in pool.map(lambda _: post(client), range(4))]
    assert all(answer["models"] == answers[0]["models"] for answer in answers)
    assert len(answers[0]["models"]) == 2


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"models": "tiny/none"}, 404, "tiny/ce-zero"),
        ({"models": "../../etc"}, 404, "unknown model"),
        ({"models": f"{TINY[0]},{TINY[0]}"}, 422, "different models"),
        ({"models": ""}, 422, "models"),
        ({"models": "x" * 1001}, 422, "1000"),
        ({"cam": "magic"}, 422, "unknown cam 'magic'"),
        ({"attack": "magic"}, 422, "unknown attack 'magic'"),
        ({"layer": "nowhere"}, 422, "unknown layer 'nowhere'"),
        ({"epsilons": "256"}, 422, "[0, 255]/255"),
        ({"epsilons": "-1"}, 422, "-1/255"),
        ({"epsilons": "nan"}, 422, "nan"),
        ({"epsilons": "1,two"}, 422, "1,two"),
        ({"epsilons": ",".join(["1"] * 17)}, 422, "at most 16"),
        ({"target_class": "10"}, 422, "[0, 10)"),
        ({"target_class": "-1"}, 422, "[0, 10)"),
        ({"target_class": "Zebra"}, 422, "unknown class 'Zebra'"),
        ({"attack_target": "10"}, 422, "[0, 10)"),
        ({"attack_target": "Zebra"}, 422, "unknown class 'Zebra'"),
        ({"attack_target": "d", "attack": "gaussian"}, 422, "aim at a class"),
        ({"steps": "0"}, 422, "steps"),
        ({"steps": "101"}, 422, "101"),
        ({"steps": "many"}, 422, "many"),
        ({"seed": "-1"}, 422, "seed"),
        ({"seed": str(2**53)}, 422, "seed"),
    ],
)
def test_refusals_say_what_was_expected(
    client: TestClient, form: dict[str, str], status: int, words: str
) -> None:
    body = check_problem(post(client, **form), status)
    assert words in body["detail"]
    assert body["instance"] == ANALYZE


def test_the_ends_of_the_ranges_pass(client: TestClient) -> None:
    post_form = {"epsilons": "0,255", "seed": str(2**53 - 1), "steps": "100", "models": TINY[0]}
    assert post(client, **post_form).status_code == 200


def test_damaged_and_missing_images(client: TestClient) -> None:
    body = check_problem(post(client, picture_bytes()[:100]), 422)
    assert (body["title"], body["type"]) == ("Image rejected", "/docs#image-rejected")
    check_problem(post(client, b""), 422)
    body = check_problem(client.post(ANALYZE, data=FORM), 422)
    assert [error["field"] for error in body["errors"]] == ["body.image"]
    body = check_problem(client.post(ANALYZE, json={"models": "x"}), 422)
    assert {error["field"] for error in body["errors"]} == {"body.image", "body.models"}


def test_a_broken_form_is_refused(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data"}  # without the boundary between its parts
    check_problem(client.post(ANALYZE, content=b"--b\r\n", headers=headers), 400)


def test_what_is_not_there(client: TestClient) -> None:
    assert check_problem(client.get("/nowhere"), 404)["instance"] == "/nowhere"
    assert check_problem(client.get("/a%20<b>"), 404)["instance"] == "/a%20%3Cb%3E"
    check_problem(client.get("/api/v1/models/tiny/none"), 404)
    check_problem(client.get("/api/v1/models/tiny/%2e%2e"), 404)
    response = client.get(ANALYZE)
    check_problem(response, 405)
    assert response.headers["allow"] == "POST"


def test_a_full_queue_is_a_503_that_says_when_to_return(models_dir: Path) -> None:
    app = create_api(Settings(models_dir=models_dir, device="cpu", max_queue=1))
    inside, leave = threading.Event(), threading.Event()

    def hold(done: float, what: str) -> None:
        inside.set()
        leave.wait(20)

    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(app.state.analyzer.analyze, picture_bytes(), REQUEST, hold)
        try:
            assert inside.wait(20)
            response = post(client)
            assert check_problem(response, 503)["title"] == "Queue full"
            assert int(response.headers["retry-after"]) > 0
            # a model that is loaded tells its layers without a place in the queue
            assert client.get(f"/api/v1/models/{TINY[0]}").status_code == 200
            assert client.get("/healthz").status_code == 200
            shown = client.get("/metrics").text
            assert "nls_queue_in_use 1.0" in shown
            assert 'nls_analyses_total{outcome="queue full"} 1.0' in shown
        finally:
            leave.set()
        slow.result()
        assert post(client).status_code == 200
        assert "nls_queue_in_use 0.0" in client.get("/metrics").text


def test_an_altered_checkpoint_is_a_clear_500(models_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(models_dir, tmp_path / "models")
    weights = tmp_path / "models" / TINY[1] / zoo.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    client = TestClient(create_api(Settings(models_dir=tmp_path / "models", device="cpu")))
    with structlog.testing.capture_logs() as logs:
        body = check_problem(post(client), 500)
    assert body["title"] == "Checkpoint unusable"
    assert f"the weights of {TINY[1]} were altered" in body["detail"]
    assert str(tmp_path) not in body["detail"]
    assert any(line["log_level"] == "error" for line in logs)


def test_the_unforeseen_is_logged_and_not_shown(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_api(Settings(models_dir=models_dir, device="cpu"))

    def fail(*_: object) -> None:
        raise RuntimeError("secret/path")

    monkeypatch.setattr(app.state.analyzer, "analyze", fail)
    client = TestClient(app)
    with structlog.testing.capture_logs() as logs:
        response = post(client)
    body = check_problem(response, 500)
    assert "secret" not in response.text
    assert response.headers["x-request-id"] in body["detail"]
    crash = next(line for line in logs if line["event"] == "crashed")
    assert "secret/path" in str(crash["exc_info"])
    assert crash["request_id"] == response.headers["x-request-id"]
    assert 'nls_analyses_total{outcome="failed"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("nothing", ["", "null"])
def test_fields_left_out_may_be_sent_empty(client: TestClient, nothing: str) -> None:
    texts = dict.fromkeys(("target_class", "attack_target", "layer"), "")
    answer = post(client, mask=nothing, **texts)
    assert answer.status_code == 200, answer.text
    assert answer.json()["models"] == post(client).json()["models"]


def test_strengths_that_are_not_asked_for_are_those_of_the_family(client: TestClient) -> None:
    answer = post(client, epsilons="").json()["request"]
    assert answer["epsilons_255"] == [1, 2, 4, 8, 16]
    assert (answer["attack"], answer["random_start"]) == ("pgd-linf", True)
    assert post(client, epsilons="", attack="pgd-l2").json()["request"]["epsilons"] == [
        0.25, 0.5, 1, 2, 4
    ]  # fmt: skip


def test_models_need_not_be_attacked(client: TestClient) -> None:
    plain = post(client, epsilons="none", flip_point="true").json()
    attacked = post(client).json()
    for model, other in zip(plain["models"], attacked["models"], strict=True):
        assert model["sweep"] == []
        assert model["flip_epsilon_255"] is None
        assert model["flip_point"] is not None
        assert model["prediction"] == other["prediction"]
        assert model["cam"]["values"] == other["cam"]["values"]


def test_a_flip_point_comes_when_asked_for(client: TestClient, api: FastAPI) -> None:
    asked, plain = post(client, flip_point="true").json(), post(client).json()
    request = dataclasses.replace(REQUEST, flip_point=True)
    wanted = api.state.analyzer.analyze(picture_bytes(), request)
    assert asked["request"]["flip_point"]
    for got, without, model in zip(asked["models"], plain["models"], wanted.models, strict=True):
        assert without["flip_point"] is None
        assert model.flip_point
        assert got["flip_point"] == {
            "epsilon_255": pytest.approx(model.flip_point.epsilon * 255),
            "label": model.manifest.classes[model.flip_point.label],
            "most_255": 16,
        }


def test_llms_txt_names_the_routes_and_models(client: TestClient) -> None:
    answer = client.get("/llms.txt")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    assert text.startswith("# NLS Lab\n\n> ")
    for model_id in TINY:
        assert f"](/api/v1/models/{model_id}): accuracy" in text
    for place in re.findall(r"\]\((/[^)]*)\)", text):
        assert place == "/ui" or client.get(place).status_code == 200, place
