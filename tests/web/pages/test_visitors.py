"""Errors of ours reach the person at the page, whichever handler they come from."""

from __future__ import annotations

import dataclasses
import shutil
from contextlib import ExitStack
from pathlib import Path

import gradio as gr
import pytest

from nls_core import zoo
from nls_core.analysis.analyzer import Analyzer
from nls_core.settings import Settings
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.visitors import visiting
from tests.conftest import make_model, tiny_manifest
from tests.security.served import serving
from tests.security.stranger import Stranger


def full(analyzer: Analyzer, stack: ExitStack) -> None:
    for _ in range(analyzer.settings.max_queue):
        stack.enter_context(analyzer.queue.place())


def test_a_full_queue_is_said_at_the_page(models_dir: Path) -> None:
    analyzer = Analyzer(Settings(models_dir=models_dir, device="cpu", max_queue=1))
    with ExitStack() as stack:
        full(analyzer, stack)
        with pytest.raises(gr.Error, match="wait"):
            visiting(Compare(analyzer).start)("tiny")


def test_a_path_is_found_without_a_place_in_the_queue(models_dir: Path) -> None:
    analyzer = Analyzer(Settings(models_dir=models_dir, device="cpu", max_queue=1))
    with ExitStack() as stack:
        full(analyzer, stack)
        assert Path(Compare(analyzer).first_picture("tiny")).is_file()


@pytest.mark.app
def test_what_went_wrong_in_a_menu_is_said_over_the_network(
    models_dir: Path, tmp_path: Path
) -> None:
    """Weights that change while the app runs: the handler has no place for a message."""
    models = tmp_path / "models"
    shutil.copytree(models_dir, models)
    manifest = dataclasses.replace(tiny_manifest("tiny/ce-zero"), id="zz/ce-zero")
    zoo.store(make_model().net, manifest, models)
    with serving(tmp_path, NLS_MODELS_DIR=str(models), NLS_DEVICE="cpu") as app:
        stranger = Stranger(app)
        event = stranger.event("pick_family")
        (models / "zz" / "ce-zero" / "model.safetensors").write_bytes(b"altered")
        answer = stranger.ask(event, ["zz"])
        assert not answer["success"]
        assert "zz/ce-zero" in answer["output"]["error"]
        assert stranger.ask(event, ["tiny"])["success"]
