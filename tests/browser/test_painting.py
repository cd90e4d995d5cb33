"""Painting the object on one's own photo in a real browser, with every family that ships."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from nls_core import zoo
from nls_core.settings import ROOT, Settings
from tests.helpers.browsing import Look, Visit, choose, upload

FAMILIES = sorted({model.split("/")[0] for model in zoo.available(Settings().models_dir)})
ACROSS = [(0.35, 0.3), (0.65, 0.3), (0.65, 0.6), (0.35, 0.6)]  # in shares of the canvas


def painting(visit: Visit, **options: object) -> Page:
    return visit("/ui", "#paint canvas", **options)


def picture(page: Page) -> str:
    """The name of the picture under the canvas."""
    return page.locator(".nls-paint").get_attribute("data-picture") or ""


def changed(page: Page, before: str) -> None:
    """Wait until the canvas is over another picture than `before`."""
    page.wait_for_function(
        "before => document.querySelector('.nls-paint').dataset.picture !== before",
        arg=before,
        timeout=120_000,
    )


def turn_to(page: Page, family: str) -> None:
    if page.get_by_label("Family", exact=True).input_value() != family:
        before = picture(page)
        choose(page, "Family", family)
        changed(page, before)


def photograph(page: Page, folder: Path) -> None:
    """A natural photograph, under a name that is no example's."""
    file = folder / "photo.jpg"
    file.write_bytes((ROOT / "static/examples/photos/dog-kemperman.jpg").read_bytes())
    before = picture(page)
    upload(page, file)
    changed(page, before)


def stroke(page: Page, points: list[tuple[float, float]]) -> None:
    canvas = page.locator("#paint canvas")
    canvas.scroll_into_view_if_needed()
    canvas.hover()  # once it has stopped moving
    box = canvas.bounding_box()
    assert box is not None
    x, y, wide, high = box["x"], box["y"], box["width"], box["height"]
    page.mouse.move(x + wide * points[0][0], y + high * points[0][1])
    page.mouse.down()
    for across, down in points[1:]:
        page.mouse.move(x + wide * across, y + high * down, steps=4)
    page.mouse.up()


def shares(page: Page) -> list[float]:
    """The painted share, then clean and attacked ones of each model, in percent."""
    text = page.locator("#focus-scores").inner_text()
    return [float(number) for number in re.findall(r"<?([\d.]+) %", text)]


def anew(page: Page, before: list[float]) -> list[float]:
    """The shares once they differ from `before`."""
    deadline = time.monotonic() + 60
    while shares(page) in (before, []):
        assert time.monotonic() < deadline, "the scores stayed as they were"
        page.wait_for_timeout(100)
    return shares(page)


def painted_pixels(page: Page) -> int:
    return int(
        page.evaluate(
            "() => { const c = document.querySelector('#paint canvas');"
            " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
            ".filter((v, i) => i % 4 === 3 && v).length; }"
        )
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_paint_on_an_uploaded_photo_gives_each_models_focus(
    visit: Visit, tmp_path: Path, family: str
) -> None:
    page = painting(visit)
    turn_to(page, family)
    photograph(page, tmp_path)
    scores = page.locator("#focus-scores")
    expect(scores).to_contain_text("Paint over the object")
    stroke(page, ACROSS)
    expect(scores).to_contain_text("Your paint covers", timeout=20_000)
    first = shares(page)
    assert len(first) == 5
    assert 3 < first[0] < 60
    assert f"{family}/" in scores.inner_text()

    page.locator("#epsilon input[type=number]").fill("3")
    page.locator("#epsilon input[type=number]").press("Enter")
    expect(scores).to_contain_text("3/255", timeout=20_000)
    assert shares(page)[:2] == first[:2]  # clean maps do not know ε

    before = shares(page)
    choose(page, "Activation map", "layercam")
    assert anew(page, before)[0] == first[0]  # the paint is still there


def test_the_eraser_and_clear_take_paint_away(visit: Visit) -> None:
    page = painting(visit)
    scores = page.locator("#focus-scores")
    stroke(page, ACROSS)
    expect(scores).to_contain_text("Your paint covers", timeout=20_000)
    whole = shares(page)
    page.get_by_role("button", name="Eraser").click()
    stroke(page, ACROSS[:2])
    assert anew(page, whole)[0] < whole[0]
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(scores).to_contain_text("Paint over the object", timeout=20_000)
    assert painted_pixels(page) == 0


def test_a_stroke_is_taken_back_by_button_and_by_keys(visit: Visit) -> None:
    page = painting(visit)
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_have_attribute("aria-disabled", "true")
    begun = painted_pixels(page)
    stroke(page, ACROSS)
    one = painted_pixels(page)
    page.get_by_role("button", name="Clear", exact=True).click()
    assert painted_pixels(page) == 0
    undo.click()
    assert painted_pixels(page) == one
    stroke(page, [(0.1, 0.1), (0.1, 0.9)])  # and the canvas has the focus
    assert painted_pixels(page) > one
    page.keyboard.press("Control+z")
    assert painted_pixels(page) == one
    page.keyboard.press("Control+z")
    assert painted_pixels(page) == begun < one
    expect(undo).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#focus-scores")).to_contain_text("Paint over", timeout=20_000)
    page.keyboard.press("Control+z")  # nothing is left to take back
    assert painted_pixels(page) == begun


def test_keys_alone_paint_and_say_where(visit: Visit) -> None:
    page = painting(visit)
    canvas = page.get_by_role("application", name="Paint over the object here")
    expect(canvas).to_have_accessible_description(re.compile("arrow keys move the brush"))
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_role("button", name="Brush").focus()
    page.keyboard.press("Shift+Tab")
    expect(canvas).to_be_focused()
    cursor, told = page.locator("#paint .cursor"), page.locator("#paint .told")
    expect(cursor).to_be_visible()
    ring = "document.querySelector('.sheet').computedStyleMap().get('outline-style').value"
    assert page.evaluate(ring) == "solid"
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(told).to_have_text(re.compile(r"^4[678] % across, \d+ % down: the brush is up$"))
    assert painted_pixels(page) == 0
    page.keyboard.press("Space")
    dot = painted_pixels(page)
    assert dot > 0
    expect(told).to_contain_text("the brush is down")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowDown")
    line = painted_pixels(page)
    assert line > 2 * dot
    page.keyboard.press("Space")
    expect(page.locator("#focus-scores")).to_contain_text("Your paint covers", timeout=20_000)
    page.keyboard.press("ArrowRight")
    assert painted_pixels(page) == line  # the brush is up again
    page.keyboard.press("Control+z")
    assert painted_pixels(page) == 0


def test_another_picture_drops_the_paint(visit: Visit) -> None:
    page = painting(visit)
    stroke(page, ACROSS)
    expect(page.locator("#focus-scores")).to_contain_text("Your paint covers", timeout=20_000)
    before = picture(page)
    page.locator("#examples button").nth(3).click()
    changed(page, before)
    expect(page.locator("#focus-scores")).to_contain_text("Paint over the object")
    assert painted_pixels(page) == 0


def test_a_finger_paints_and_the_page_stays(visit: Visit, look: Look) -> None:
    page = painting(visit, has_touch=True, is_mobile=look.narrow)
    canvas = page.locator("#paint canvas")
    canvas.scroll_into_view_if_needed()
    box, top = canvas.bounding_box(), page.evaluate("scrollY")
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)  # a dot
    scores = page.locator("#focus-scores")
    expect(scores).to_contain_text("Your paint covers", timeout=20_000)
    dot = shares(page)
    assert 0 < dot[0] < 5
    touch = page.context.new_cdp_session(page)
    for kind, down in (("touchStart", 0.3), ("touchMove", 0.5), ("touchMove", 0.8)):
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] * down}
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert anew(page, dot)[0] > dot[0]
    assert page.evaluate("scrollY") == top
