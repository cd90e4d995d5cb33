"""The real app starts and serves with any report damaged; the page in question says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nls_core.settings import ROOT, Settings
from tests.helpers.whole import whole_app

MODELS = ROOT / "models"
PAGES = {"fashion": "robustness", "photos": "maps"}  # each shows its family's report
DAMAGE = {
    "cut short": lambda text: text[: len(text) // 2],
    "no cells": lambda text: json.dumps({"data": json.loads(text)["data"]}),
    "cells without figures": lambda text: json.dumps(
        {**json.loads(text), "cells": {"ce-zero": {"metrics": {}, "robust": 3, "masks": {}}}}
    ),
    "no counts": lambda text: json.dumps({**json.loads(text), "data": {"other": 1}}),
}


@pytest.fixture
def models(models_dir: Path, tmp_path: Path) -> Path:
    """The tiny models under the names of the shipped families, with the shipped reports."""
    folder = tmp_path / "models"
    for family in PAGES:
        shutil.copytree(models_dir / "tiny", folder / family)
        for path in folder.glob(f"{family}/*/config.json"):
            path.write_text(path.read_text().replace('"tiny/', f'"{family}/'))
        for path in (MODELS / family).glob("*.json"):
            shutil.copy(path, folder / family)
    return folder


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_reports_leave_the_app_up(kind: str, models: Path) -> None:
    for family in PAGES:
        path = models / family / "report.json"
        path.write_text(DAMAGE[kind](path.read_text(encoding="utf-8")), encoding="utf-8")
    with whole_app(Settings(models_dir=models, device="cpu")) as client:
        for page in PAGES.values():
            shown = client.get(f"/ui/{page}")
            assert shown.status_code == 200
            if kind != "cells without figures":  # charts are made when the page is opened
                assert "This page cannot be shown" in shown.text, page
        assert "This page cannot be shown" not in client.get("/ui/loss-lab").text
        assert client.get("/ui/").status_code == 200
        assert client.get("/api/v1/models").status_code == 200
