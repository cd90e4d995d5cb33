"""The real app with a model that cannot be used: it says so, and serves the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nls_core import zoo
from tests.conftest import TINY, picture_bytes
from tests.security.served import Form, multipart, serving
from tests.security.stranger import Stranger


def alter_weights(folder: Path) -> None:
    path = folder / zoo.WEIGHTS
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def cut_manifest(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")


@pytest.mark.parametrize("damage", [alter_weights, cut_manifest])
def test_one_bad_model_takes_nothing_else_down(
    models_dir: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    models = tmp_path / "models"
    shutil.copytree(models_dir, models)
    damage(models / TINY[0])
    with serving(tmp_path, NLS_MODELS_DIR=str(models)) as app:
        ready = app.ask("GET", "/readyz")
        assert ready.status == 200
        assert ready.json()["status"] == "degraded"
        assert ready.json()["models"][TINY[1]] == "ready"
        assert TINY[0] in ready.json()["models"][TINY[0]]  # the sentence names it
        assert [m["id"] for m in app.ask("GET", "/api/v1/models").json()] == [TINY[1]]
        for ids, status in ((TINY[1], 200), (TINY[0], 500)):
            form: Form = {"models": ids, "image": ("a.png", picture_bytes()), "attack": "fgsm"}
            assert app.ask("POST", "/api/v1/analyze", *multipart(form)).status == status
        config = app.ask("GET", "/ui/config").text
        assert f"Not served: the {'weights' if damage is alter_weights else 'manifest'}" in config
        assert str(tmp_path) not in ready.text
        assert any(
            line.get("event") == "model_unusable" and line["model"] == TINY[0]
            for line in app.lines()
        )
        stranger = Stranger(app)
        values = [stranger.upload(picture_bytes()), TINY[1], TINY[1], "fgsm", "gradcam"]
        assert stranger.ask(stranger.event("compare"), values)["success"]
