"""The real app starts and serves with any report damaged; the page in question says so."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from nls_core.settings import ROOT, Settings

MODELS = ROOT / "models"
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
    for family in ("fashion", "photos"):
        shutil.copytree(models_dir / "tiny", folder / family)
        for path in folder.glob(f"{family}/*/config.json"):
            path.write_text(path.read_text().replace('"tiny/', f'"{family}/'))
        for path in (MODELS / family).glob("*.json"):
            shutil.copy(path, folder / family)
    return folder


def serving(models: Path) -> Iterator[TestClient]:
    from nls_core.web.server import create_app

    async def make() -> FastAPI:  # outside a running loop Gradio opens loops and leaves them open
        return create_app(Settings(models_dir=models, device="cpu"))

    with TestClient(asyncio.run(make())) as client:
        yield client


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize(("family", "page"), [("fashion", "robustness"), ("photos", "maps")])
def test_a_damaged_report_leaves_the_app_up(
    family: str, page: str, kind: str, models: Path
) -> None:
    path = models / family / "report.json"
    path.write_text(DAMAGE[kind](path.read_text(encoding="utf-8")), encoding="utf-8")
    for client in serving(models):
        shown = client.get(f"/ui/{page}")
        assert shown.status_code == 200
        if kind != "cells without figures":  # charts are made when the page is opened
            assert "This page cannot be shown" in shown.text
        assert "This page cannot be shown" not in client.get("/ui/loss-lab").text
        assert client.get("/ui/").status_code == 200
        assert client.get("/api/v1/models").status_code == 200
