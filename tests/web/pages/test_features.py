"""The page Features: its family menu."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import gradio as gr
import pytest

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.features import Features
from nls_core.settings import Settings
from nls_core.web.pages.features import FeaturesPage


@pytest.fixture
def page(models_dir: Path, tmp_path: Path) -> FeaturesPage:
    """Two families with test images, and one without."""
    for family in ("fashion", "aaa", "bare"):
        shutil.copytree(models_dir / "tiny", tmp_path / family)
        for path in tmp_path.glob(f"{family}/*/config.json"):
            path.write_text(path.read_text().replace('"tiny/', f'"{family}/'))
    (tmp_path / "bare" / "sample.npz").unlink()
    work = Features(Analyzer(Settings(models_dir=tmp_path, device="cpu")))

    async def make() -> FeaturesPage:  # outside a running loop Gradio leaves one open
        with gr.Blocks(analytics_enabled=False):
            return FeaturesPage(work)

    return asyncio.run(make())


def test_only_families_with_test_images_are_offered(page: FeaturesPage) -> None:
    assert page.work.families() == ["fashion", "aaa"]


def test_another_family_brings_its_models_and_examples(page: FeaturesPage) -> None:
    baseline, candidate, picture, examples = page.other("aaa")
    assert baseline["value"] == "aaa/ce-zero"
    assert candidate["value"] == "aaa/nls-partial"
    assert {i for _, i in baseline["choices"]} == {"aaa/ce-zero", "aaa/nls-partial"}
    assert picture is None
    assert "<button" not in examples
    assert page.other("fashion")[3].count("<button") >= 12
    assert "data:image/png" in page.rules("aaa")
