"""The page *Batch*: many pictures, or a ZIP of them, through some models."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from nls_core import files
from nls_core.analysis import batch, choice
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.batch import Batch
from nls_core.analysis.cache import Store
from nls_core.decode import archives
from nls_core.errors import InvalidInput, NLSLabError
from nls_core.views import batch_html, names
from nls_core.web.edge import scratch
from nls_core.web.pages.widgets import LOOK, PRIVATE, explained, intro, message, note, script

MB = 1_000_000
INTRO = """Many pictures at once: what each model says, how sure it is, how little noise turns it,
and whether a picture is perhaps of none of its classes. With labels: how often it is right."""
HOW = f"""Up to {batch.MAX_PICTURES} pictures, or a ZIP file of them, of at most {{limit}} together
as they are sent (a ZIP file may hold {archives.MAX_TOTAL // MB} MB, unpacked). What they show may
be told: by folders in the ZIP that are called as the classes are, or by a file
<code>labels.csv</code> beside them with a file name and a class in each line. One picture is
computed at a time, and other visitors' in between."""
KEPT_BYTES = 32_000_000  # of all visitors' batches together
MOST = 4  # models
EVERY = 5  # pictures, after which the table is shown anew: it is sent whole
# a few run at a time; further ones wait, and hold up nobody else
WORK: dict[str, Any] = {"concurrency_id": "batch", "concurrency_limit": 4}


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Batch", INTRO)
    families = choice.opening(analyzer.families())
    if families:
        BatchPage(analyzer, families)


class BatchPage:
    """The components, and what happens when one is touched."""

    def __init__(self, analyzer: Analyzer, families: Sequence[str]) -> None:
        self.analyzer = analyzer
        self.kept: Store[Batch] = Store(KEPT_BYTES)
        note(HOW.format(limit=f"{analyzer.settings.max_upload_bytes / MB:.3g} MB"))
        with gr.Row():
            pictures = gr.File(
                file_count="multiple",
                label="Pictures or a ZIP file",
                height=180,
                scale=2,
                elem_id="batch-files",
            )
            pictures.preprocess = _paths_of  # type: ignore[method-assign]
            with gr.Column(scale=1, min_width=260):
                family = gr.Dropdown(
                    list(families), value=families[0], label="Family", visible=len(families) > 1
                )
                models = gr.Dropdown(**self._menu(families[0]), label="Models", multiselect=True)
                flips = gr.Checkbox(value=True, label="Find the flip points (slower)")
                with gr.Row():
                    start = gr.Button("Start", variant="primary", min_width=100)
                    stop = gr.Button("Stop", min_width=100)
        words = gr.HTML(elem_id="message")
        shown = gr.HTML(elem_id="batch", js_on_load=script(analyzer.settings, "batch.js"))
        key = gr.State("")
        with gr.Row():
            buttons = {"html": gr.Button("Prepare HTML report", size="sm")}
            buttons["csv"] = gr.Button("Prepare CSV", size="sm")
        file = gr.File(label="Download", visible=False)
        family.input(lambda name: gr.update(**self._menu(name)), family, models, **PRIVATE)
        running = start.click(
            self.run,
            [pictures, models, flips],
            [key, words, shown],
            show_progress="hidden",
            trigger_mode="once",
            **WORK,
            **PRIVATE,
        )
        stop.click(partial(message, "Stopped."), None, words, cancels=[running], **LOOK, **PRIVATE)
        for kind, button in buttons.items():
            button.click(partial(self.export, kind), key, [words, file], **LOOK, **PRIVATE)

    def _menu(self, family: str) -> dict[str, Any]:
        pair = list(dict.fromkeys(self.analyzer.pair(family)))
        return {
            "choices": names.menu(self.analyzer.ids(family)),
            "value": pair,
            "max_choices": MOST,
        }

    def run(self, paths: list[str], models: list[str], flips: bool) -> Iterator[list[Any]]:
        """Answer one picture after another; what is known is shown after each."""
        most, key = self.analyzer.settings.max_upload_bytes, secrets.token_hex(8)
        try:
            if not models:
                raise InvalidInput("expected a model at least; got none")
            pictures = batch.sources([Path(path) for path in paths], most)
            unknown = batch.unknown_labels(pictures, self.analyzer.manifest(models[0]).classes)
            for known in batch.run(self.analyzer, pictures, models, flips=flips):
                self.kept.put(key, known)
                text = f"{known.done} of {known.total} pictures are answered. {unknown}"
                now = known.done in (1, known.total) or known.done % EVERY == 0
                results = batch_html.results(known) if now else gr.skip()
                yield [key, message(text) + _bar(known), results]
        except NLSLabError as error:
            yield [gr.skip(), message(str(error), wrong=True), gr.skip()]

    def export(self, kind: str, key: str) -> list[Any]:
        """Write what is known to a file: 'html' or 'csv'."""
        known = self.kept.get(key)
        if known is None:
            text = "expected a batch to write; there is none, or it is no longer kept"
            return [message(text, wrong=True), gr.skip()]
        settings = self.analyzer.settings
        path = scratch.fresh(settings, f"nls-lab-batch.{kind}")
        files.write_text(path, batch_html.text(known, kind, settings.static_dir))
        return [gr.skip(), gr.File(str(path), visible=True)]


def _bar(known: Batch) -> str:
    return explained(
        f'<progress max="{known.total}" value="{known.done}" aria-label="pictures"></progress>'
    )


def _paths_of(payload: Any) -> list[str]:
    """The paths of the files as they were sent; Gradio's own way makes an empty file for each."""
    if payload is None:
        return []
    found = [each.path for each in getattr(payload, "root", [payload])]
    if not all(found):
        raise gr.Error("expected uploaded files; got something else", print_exception=False)
    return list(map(str, found))
