"""The focus panel without a browser: canvas, words, whose mask it is, events and exports."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import shutil
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from nls_core.analysis import focus
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.focus import Marked
from nls_core.analysis.results import Analysis
from nls_core.decode import decode_image
from nls_core.errors import ImageRejected, InvalidInput, TooLarge
from nls_core.settings import Settings
from nls_core.types import Geometry
from nls_core.views import focus_html
from nls_core.web.pages.compare import ComparePage
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.painting import KNOWN, MAX_BYTES, PREFIX, YOURS, Paint, read_paint
from tests.analysis.test_focus import left_of, png
from tests.conftest import picture_bytes

HALF = Marked(left_of(60, 80), YOURS)


class Event(gr.EventData):
    """What Gradio hands over when the canvas reports a stroke."""

    def __init__(self, data: Any) -> None:
        super().__init__(None, data)


def uri(mask: np.ndarray) -> str:
    """A mask as the page sends it: a painted canvas."""
    canvas = np.zeros((*mask.shape, 4), np.uint8)
    canvas[mask] = (*focus_html.COLOUR, 255)
    return PREFIX + base64.b64encode(png(canvas)).decode()


# --- the canvas ------------------------------------------------------------------------------


def test_the_canvas_has_the_pictures_proportions_and_the_models_frame(analysis: Analysis) -> None:
    part = Geometry(400, 200, (100.0, 0.0, 300.0, 200.0))
    html = focus_html.painter(dataclasses.replace(analysis, geometry=part))
    assert 'width="480" height="240"' in html
    assert "left:25.00%;top:0.00%;width:50.00%;height:100.00%" in html
    beyond = Geometry(400, 200, (0.0, -100.0, 400.0, 300.0))
    assert "frame" not in focus_html.painter(dataclasses.replace(analysis, geometry=beyond))


def test_a_known_mask_comes_along_with_the_canvas(analysis: Analysis) -> None:
    assert 'class="given"' not in focus_html.painter(analysis)
    assert 'class="given"' in focus_html.painter(analysis, HALF)


def test_paint_belongs_to_a_picture_and_its_frame(analysis: Analysis) -> None:
    name = focus_html.digest(analysis)
    assert name == focus_html.digest(dataclasses.replace(analysis, seconds=9.0))
    other = dataclasses.replace(analysis, picture=255 - analysis.picture)
    moved = dataclasses.replace(
        analysis, geometry=dataclasses.replace(analysis.geometry, box=(0.0, 0.0, 9.0, 9.0))
    )
    assert len({name, focus_html.digest(other), focus_html.digest(moved)}) == 3


# --- what is shown ----------------------------------------------------------------------------


def test_without_paint_the_page_says_what_to_do(analysis: Analysis) -> None:
    for marked in (None, Marked(np.zeros((4, 4), bool), YOURS)):
        assert "Paint over the object" in focus_html.scores(analysis, 0, marked)


def test_paint_outside_the_frame_is_reported(analysis: Analysis) -> None:
    aside = dataclasses.replace(analysis, geometry=Geometry(60, 80, (40.0, 0.0, 60.0, 20.0)))
    shown = focus_html.scores(aside, 0, HALF)
    assert "outside the dashed frame" in shown
    assert "%" not in shown


def test_the_scores_are_those_of_the_shown_strength(analysis: Analysis) -> None:
    found = focus.score(analysis, HALF.mask)
    for index, strength in enumerate((1, 2, 4, 8)):
        shown = focus_html.scores(analysis, index, HALF)
        assert shown.startswith('<div class="nls-focus" role="status"><p>Your paint covers')
        assert f"ε = {strength}/255" in shown
        for each in found.models:
            for share in (each.clean, each.attacked[index]):
                assert f"{100 * share:.1f} %" in shown


def test_a_map_of_zeros_is_reported(analysis: Analysis) -> None:
    first = analysis.models[0]
    blank = dataclasses.replace(first.cam, values=np.zeros_like(first.cam.values))
    models = (dataclasses.replace(first, cam=blank), *analysis.models[1:])
    shown = focus_html.scores(dataclasses.replace(analysis, models=models), 0, HALF)
    assert shown.count("a map of zeros") == 1


# --- what the page sends ---------------------------------------------------------------------


def test_paint_is_read_as_the_page_sends_it() -> None:
    assert (read_paint(uri(HALF.mask)) == HALF.mask).all()
    assert not read_paint(uri(np.zeros((4, 4), bool))).any()
    assert read_paint(uri(np.ones((4, 4), bool))).all()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (None, ImageRejected),
        ("data:image/jpeg;base64,AAAA", ImageRejected),
        (PREFIX + "§", ImageRejected),
        (PREFIX + "AAAA", ImageRejected),
        (PREFIX + base64.b64encode(bytes(MAX_BYTES + 1)).decode(), TooLarge),
        (PREFIX + base64.b64encode(png(np.zeros((1000, 1000), np.uint8))).decode(), ImageRejected),
    ],
)
def test_other_paint_is_refused(sent: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        read_paint(sent)


# --- examples with masks ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def compare(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Compare:
    """Over examples of the family `tiny`: one with a mask, one without, one with a bad mask."""
    static = tmp_path_factory.mktemp("static")
    shipped = Settings().static_dir
    for name in (
        "paint.js",
        "pick.js",
        "shrink.js",
        "explore.js",
        "values.js",
        "tour.js",
        "style.css",
    ):
        shutil.copy(shipped / name, static / name)
    folder = static / "examples"
    folder.mkdir()
    (folder / "known.png").write_bytes(picture_bytes())
    (folder / "plain.png").write_bytes(picture_bytes(60, 90))
    (folder / "bad.png").write_bytes(png(255 - np.asarray(decode_image(picture_bytes()))))
    (folder / "mask.png").write_bytes(png(HALF.mask.astype(np.uint8)))
    (folder / "small.png").write_bytes(png(left_of(6, 8).astype(np.uint8)))
    common = {"family": "tiny", "label": "a", "title": "A"}
    entries = [
        {"file": "known.png", "mask": "mask.png"} | common,
        {"file": "plain.png"} | common,
        {"file": "bad.png", "mask": "small.png"} | common,
    ]
    (folder / "examples.json").write_text(json.dumps(entries), encoding="utf-8")
    return Compare(Analyzer(Settings(models_dir=models_dir, device="cpu", static_dir=static)))


def picked(compare: Compare, name: str) -> dict[str, Any]:
    chosen = next(e for e in compare.examples if e.path.name == name)
    return compare.start("tiny") | {"image": str(chosen.path), "steps": 1}


def test_an_example_may_bring_its_mask(compare: Compare) -> None:
    known = compare.known_mask(compare.analyze(picked(compare, "known.png")))
    assert known is not None
    assert (known == HALF.mask).all()
    assert compare.known_mask(compare.analyze(picked(compare, "plain.png"))) is None
    bad = compare.analyze(picked(compare, "bad.png"))
    with pytest.raises(InvalidInput, match="60 × 80 pixels, got 6 × 8"):
        compare.known_mask(bad)


def test_exports_hold_the_focus(compare: Compare) -> None:
    values = picked(compare, "known.png")
    analysis = compare.analyze(values)
    wanted = focus.score(analysis, HALF.mask)
    data = json.loads(compare.export("json", analysis, values, HALF).read_text("utf-8"))
    assert [m["focus"]["clean"] for m in data["models"]] == [m.clean for m in wanted.models]
    page = compare.export("html", analysis, values, HALF).read_text("utf-8")
    assert "<h2>Focus</h2>" in page
    assert f"{100 * wanted.area:.1f} %" in page
    for nothing in (None, Marked(np.zeros((8, 8), bool), YOURS)):
        data = json.loads(compare.export("json", analysis, values, nothing).read_text("utf-8"))
        assert [m["focus"] for m in data["models"]] == [None, None]
        page = compare.export("html", analysis, values, nothing).read_text("utf-8")
        assert "<h2>Focus</h2>" not in page


def test_the_marked_picture_shows_the_mask(analysis: Analysis) -> None:
    shown = focus_html.overlay(analysis, left_of(6, 8))
    assert shown.shape == analysis.picture.shape
    half = analysis.picture.shape[1] // 2
    assert (shown[:, half:] == analysis.picture[:, half:]).all()
    assert (shown[:, :half] != analysis.picture[:, :half]).any(2).all()


# --- the page's events -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(compare: Compare) -> ComparePage:
    async def build() -> ComparePage:  # in a loop, else Gradio makes one and leaves it open
        return ComparePage(compare)

    return asyncio.run(build())


def data_of(page: ComparePage, paint: Paint, **values: Any) -> dict[Any, Any]:
    """What Gradio gives the panel's handlers."""
    panel = page.focus
    chosen = page.start | {"epsilon": 1, "scale": "joint"} | values
    given = {component: chosen[name] for name, component in panel.inputs.items()}
    return given | {panel.paint: paint}


@pytest.fixture
def analysis_shown(page: ComparePage) -> Analysis:
    """What the page opens with."""
    return page.work.analyze(page.start)


def test_the_page_opens_with_the_examples_mask(page: ComparePage) -> None:
    assert page.focus.scores.value.startswith('<div class="nls-focus"')
    assert escape(KNOWN) in page.focus.scores.value


def test_a_stroke_gives_scores_and_stays(page: ComparePage, analysis_shown: Analysis) -> None:
    blank = Paint(focus_html.digest(analysis_shown))
    sent = {"mask": uri(HALF.mask), "picture": blank.picture}
    paint, shown = page.focus.painted(data_of(page, blank), Event(sent))
    assert shown == focus_html.scores(analysis_shown, 0, HALF)
    assert page.focus.rescore(data_of(page, paint, epsilon=3)) == focus_html.scores(
        analysis_shown, 2, HALF
    )
    again = page.focus.follow(data_of(page, paint))
    assert [isinstance(part, str) for part in again] == [False, False, True]
    assert again[2] == shown


def test_paint_on_a_picture_that_is_gone_is_dropped(
    page: ComparePage, analysis_shown: Analysis
) -> None:
    blank = Paint(focus_html.digest(analysis_shown))
    for sent in ({"mask": uri(HALF.mask), "picture": "gone"}, [1], None):
        assert all(
            not isinstance(part, (str, Paint))
            for part in page.focus.painted(data_of(page, blank), Event(sent))
        )


def test_another_picture_gets_a_new_canvas(page: ComparePage, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    own.write_bytes(picture_bytes(50, 70))
    paint, canvas, shown = page.focus.follow(data_of(page, Paint("another"), image=str(own)))
    analysis = page.work.analyze(page.start | {"image": str(own)})
    assert paint == Paint(focus_html.digest(analysis))
    assert paint.picture in canvas
    assert "Paint over the object" in shown


def test_bad_paint_and_bad_masks_are_reported(page: ComparePage, analysis_shown: Analysis) -> None:
    blank = Paint(focus_html.digest(analysis_shown))
    sent = {"mask": PREFIX + "AAAA", "picture": blank.picture}
    shown = page.focus.painted(data_of(page, blank), Event(sent))[1]
    assert "nls-error" in shown
    image = picked(page.work, "bad.png")["image"]
    bad = page.focus.follow(data_of(page, Paint("x"), image=image))
    assert "60 × 80 pixels, got 6 × 8" in bad[2]
    assert page.focus.marked(bad[0]) is None


def test_without_a_picture_nothing_moves(page: ComparePage) -> None:
    given = data_of(page, Paint("x"), image=None)
    assert all(not isinstance(part, str) for part in page.focus.follow(given))
    assert "expected a picture" in page.focus.rescore(given)


def test_the_shipped_examples_masks_fit(analyzer: Analyzer) -> None:
    work = Compare(analyzer)
    for example in work.examples:
        if example.mask is not None:
            with Image.open(example.path) as picture:
                size = picture.size
            focus.read_mask(example.mask.read_bytes(), size, analyzer.settings)
