"""The real app with models that cannot be used: it says so, and serves the others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nls_core import zoo
from nls_core.web.bench.process import multipart
from tests.conftest import TINY, make_model, picture_bytes, tiny_manifest
from tests.security.served import Form, Served, serving
from tests.security.stranger import Stranger


def alter_weights(folder: Path) -> None:
    path = folder / zoo.WEIGHTS
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def cut_manifest(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")


DAMAGED = {TINY[0]: "weights", "tiny/ls-zero": "manifest"}  # of each, what is damaged
GOOD, LATER = TINY[1], "zz/ce-zero"  # the second is damaged while the app runs


@pytest.fixture(scope="module")
def app(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real app over two models that can be used and two that cannot."""
    folder = tmp_path_factory.mktemp("damaged")
    models = folder / "models"
    shutil.copytree(models_dir, models)
    for added in ("tiny/ls-zero", LATER):
        zoo.store(make_model().net, replace(tiny_manifest(TINY[0]), id=added), models)
    alter_weights(models / TINY[0])
    cut_manifest(models / "tiny/ls-zero")
    with serving(folder, NLS_MODELS_DIR=str(models), NLS_DEVICE="cpu") as app:
        yield app


def test_bad_models_take_nothing_else_down(app: Served) -> None:
    ready = app.ask("GET", "/readyz")
    assert ready.status == 200
    assert ready.json()["status"] == "degraded"
    assert ready.json()["models"][GOOD] == "ready"
    assert str(app.log.parent) not in ready.text
    assert [m["id"] for m in app.ask("GET", "/api/v1/models").json()] == [GOOD, LATER]
    assert analyze(app, GOOD) == 200
    stranger = Stranger(app)
    values = [stranger.upload(picture_bytes()), GOOD, GOOD, "fgsm", "gradcam"]
    assert stranger.ask(stranger.event("compare"), values)["success"]


@pytest.mark.parametrize(("bad", "part"), DAMAGED.items())
def test_a_bad_model_is_named(app: Served, bad: str, part: str) -> None:
    assert bad in app.ask("GET", "/readyz").json()["models"][bad]  # the sentence names it
    assert analyze(app, bad) == 500
    assert f"Not served: the {part} of {bad}" in app.ask("GET", "/ui/config").text
    assert any(
        line.get("event") == "model_unusable" and line["model"] == bad for line in app.lines()
    )


def test_what_went_wrong_in_a_menu_is_said_over_the_network(app: Served) -> None:
    """Weights that change while the app runs: the handler has no place for a message."""
    stranger = Stranger(app)
    event = stranger.event("refill")
    weights = app.log.parent / "models" / LATER / zoo.WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(b"altered")
    answer = stranger.ask(event, ["zz"])
    weights.write_bytes(whole)
    assert not answer["success"]
    assert LATER in answer["output"]["error"]
    assert stranger.ask(event, ["tiny"])["success"]


def analyze(app: Served, models: str) -> int:
    """The status of an analysis by these models."""
    form: Form = {"models": models, "image": ("a.png", picture_bytes()), "attack": "fgsm"}
    return app.ask("POST", "/api/v1/analyze", *multipart(form)).status
