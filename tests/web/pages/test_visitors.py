"""Errors of ours reach the person at the page, whichever handler they come from."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import gradio as gr
import pytest

from nls_core.analysis.analyzer import Analyzer
from nls_core.settings import Settings
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.visitors import visiting


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
