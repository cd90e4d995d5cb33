"""docs/extending.md: each of its blocks runs, and what it adds is used by its name."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch

from nls_core import nets
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.data import datasets
from nls_core.families.recipe import Recipe
from nls_core.losses import LOSSES
from nls_core.settings import ROOT
from nls_core.training import loop
from nls_core.web.pages.navigation import PAGES
from tests.conftest import TINY, picture_bytes

TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
REGISTRIES: tuple[dict[str, Any], ...] = (
    LOSSES,
    ATTACKS,
    CAMS,
    nets.ARCHITECTURES,
    datasets.DATASETS,
    PAGES,
)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks are run; their entries are taken out again."""
    before = [dict(each) for each in REGISTRIES]
    for block in BLOCKS:
        exec(compile(block, "extending.md", "exec"), {})
    for registry, names in zip(REGISTRIES, before, strict=True):
        for name in registry.keys() - names.keys():
            monkeypatch.setitem(registry, name, registry.pop(name))


def test_each_registry_has_a_block() -> None:
    assert len(BLOCKS) == len(REGISTRIES)
    assert all(len(block.strip().splitlines()) <= 15 for block in BLOCKS)


def test_a_model_is_trained_with_what_was_added(tmp_path: Path) -> None:
    recipe = Recipe(
        dataset="stripes", arch="plain", loss="poly", lr=0.1, epochs=4, batch_size=20, amp=False
    )
    recipe.check()
    data = datasets.load("stripes", tmp_path, "train")
    done = loop.run(recipe, tmp_path, data, device=torch.device("cpu"))
    assert done.best_accuracy > 0.9


def test_the_added_loss_is_its_formula() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(LOSSES["poly"](logits, labels, reduction="none"), 1 - p - p.log())


def test_an_analysis_uses_the_added_attack_and_map(analyzer: Analyzer) -> None:
    request = AnalysisRequest(
        models=TINY[:1], attack="brighter", cam="strongest", epsilons=(8 / 255,)
    )
    answer = analyzer.analyze(picture_bytes(), request)
    point = answer.models[0].sweep[0]
    assert point.cam.method == "strongest"
    assert point.linf == pytest.approx(8 / 255, abs=1e-6)
    assert (point.adversarial >= answer.x - 1e-6).all()


def test_the_added_page_is_built(analyzer: Analyzer) -> None:
    async def made() -> gr.Blocks:  # outside a running loop Gradio opens loops and leaves them open
        with gr.Blocks(analytics_enabled=False) as blocks:
            PAGES["About"](analyzer)
        return blocks

    assert TINY[0] in str(asyncio.run(made()).get_config_file()["components"])
