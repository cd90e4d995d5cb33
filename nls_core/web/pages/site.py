"""All pages as one Gradio app, and how it is mounted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from fastapi import FastAPI
from gradio.routes import App
from starlette.routing import Mount

from nls_core.analysis.analyzer import Analyzer
from nls_core.settings import Settings
from nls_core.web.edge.middleware import UI_PATH
from nls_core.web.pages import navigation, sessions
from nls_core.web.pages.compare import INTRO, TITLE, ComparePage
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.visitors import attend
from nls_core.web.pages.widgets import intro, message

NO_MODELS = (
    "There are no models that can be used (/readyz says what is wrong with those there are): "
    "name their folder in NLS_MODELS_DIR, or train them with `make models`."
)


def build(analyzer: Analyzer) -> gr.Blocks:
    """All pages, Compare opened on a finished comparison; without models, what to do."""
    if analyzer.ids():
        blocks = ComparePage(Compare(analyzer)).blocks
        navigation.add(blocks, analyzer)
        return blocks
    empty: gr.Blocks
    with gr.Blocks(title="NLS Lab", analytics_enabled=False) as empty:
        intro(TITLE, INTRO)
        gr.HTML(message(NO_MODELS, wrong=True))
    return empty


@contextmanager
def _one_server() -> Iterator[None]:
    """Build Blocks in this block, and Gradio makes no server yet.

    It makes a whole one, of 90 routes, with each page; mounting makes the one that serves.
    """
    real = App.create_app
    App.create_app = staticmethod(lambda *args, **options: None)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        App.create_app = staticmethod(real)  # type: ignore[method-assign]


def mount(app: FastAPI, analyzer: Analyzer) -> Mount:
    """Put the pages at /ui of an app; gives the route there, whose app is Gradio's own."""
    settings = analyzer.settings
    with _one_server():
        blocks = build(analyzer)
        bound(blocks, settings)
    attend(blocks)
    with warnings.catch_warnings():
        # Gradio says so of every app with several pages, also of one that asks for no SSR
        warnings.filterwarnings("ignore", "SSR mode is not supported", UserWarning)
        gr.mount_gradio_app(
            app,
            blocks,
            path=UI_PATH,
            footer_links=[],
            run_history=False,
            allowed_paths=[str(settings.static_dir / "examples")],
            show_error=False,
            max_file_size=settings.max_upload_bytes,
            ssr_mode=False,
            enable_monitoring=False,
            theme=theme(),
            css_paths=settings.static_dir / "style.css",
        )
    page = next(r for r in app.routes if isinstance(r, Mount) and r.path == UI_PATH)
    sessions.keep(page.app, blocks)  # type: ignore[arg-type]  # Gradio's own app
    return page


def bound(blocks: gr.Blocks, settings: Settings) -> None:
    """Set the limits that `launch` would, and those that Gradio has no option for."""
    # else Gradio takes any path of this machine that a request names for a file of the app's own
    blocks.has_launched = True
    blocks.queue(max_size=4 * settings.max_queue, api_open=False)
    sessions.bound(blocks)


def theme() -> gr.Theme:
    """Gradio's own theme with the system's fonts: nothing is fetched from outside."""
    made: gr.Theme = gr.themes.Default(
        primary_hue="teal",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )
    # white on the hue's own colour is too faint to read
    return made.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )
