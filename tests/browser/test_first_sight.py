"""What a first look at Compare finds: the fold, large pictures, values, terms, the tour."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from nls_core.analysis.examples import read_measured
from nls_core.settings import Settings
from tests.helpers import browsing
from tests.helpers.browsing import DESKTOP, PHONE, Look, visits

expect.set_options(timeout=30_000)  # a busy machine


@pytest.fixture(scope="module")
def shared(browser: Browser, url: str, look: Look) -> Iterator[Page]:
    """One page for tests that leave it as it was."""
    with visits(browser, url, look) as visit:
        yield visit("/ui", ".nls-sentence")


def test_the_fold_answers_what_happened_to_whom_where_and_whether_it_is_deserved(
    shared: Page, look: Look
) -> None:
    for seen in (".nls-sentence", ".nls-faces >> nth=1", ".nls-gauges >> nth=1", "#epsilon"):
        box = shared.locator(seen).first.bounding_box()
        assert box
        assert box["y"] + box["height"] <= look.size["height"], seen
    sentence = shared.locator(".nls-sentence").inner_text()
    assert len(sentence) < 200
    heads = shared.locator(".nls-model h2").all_inner_texts()
    assert heads[0] == "cross-entropy"
    assert "normalized soft labels" in heads[1]
    for card in shared.locator(".nls-model").all():
        assert re.search(r"[\d.]+/255, to \w+|none found", card.inner_text())
        assert re.search(r"(yes|too sure|could be surer): .* sure, of such", card.inner_text())
        assert not card.locator(".nls-verdict").is_visible()  # all figures: one click away


def test_epsilon_stays_in_sight(shared: Page) -> None:
    shared.locator(".nls-scales").scroll_into_view_if_needed()
    shared.mouse.wheel(0, 400)
    shared.wait_for_timeout(200)
    box = shared.locator("#epsilon").bounding_box()
    assert box
    assert 0 <= box["y"] < 120
    shared.evaluate("window.scrollTo(0, 0)")


def contrast(page: Page, selector: str) -> float:
    page.wait_for_function(  # the theme's colours are there
        """selector => {
        const bare = (e) => /rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(e).backgroundColor);
        let e = document.querySelector(selector);
        while (e && bare(e)) e = e.parentElement;
        return e !== null; }""",
        arg=selector,
    )
    return float(
        page.evaluate(
            """selector => {
            const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
            const light = (colour) => { const [r, g, b] = colour.match(/[\\d.]+/g)
                .map((v) => linear(Number(v) / 255));
              return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
            const behind = (e) => getComputedStyle(e).backgroundColor;
            const e = document.querySelector(selector); let back = e;
            while (/rgba\\(.*, 0\\)|transparent/.test(behind(back))) back = back.parentElement;
            const [a, b] = [light(getComputedStyle(e).color), light(behind(back))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }""",
            selector,
        )
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_written_can_be_read(browser: Browser, url: str, theme: str) -> None:
    page, _ = browsing.open_page(
        browser, f"{url}/ui/?__theme={theme}", ".nls-sentence", {"width": 320, "height": 700}
    )
    for text in (
        *("#strength .min_value", "#strength .max_value", ".nls-sentence", ".nls-role"),
        *(".nls-gauge b", ".nls-faces .nls-turned figcaption span", ".nls-about"),
    ):
        assert contrast(page, text) >= 4.5, text
    for width in (320, 390, 768, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_a_picture_opens_large_and_wipes_between_clean_and_attacked(
    shared: Page, look: Look
) -> None:
    shared.locator(".nls-faces .nls-zoom").nth(1).click()
    dialog = shared.locator("#nls-large")
    expect(dialog).to_be_visible()
    box = dialog.locator(".over").bounding_box()
    assert box
    assert box["width"] > 0.4 * look.size["width"]
    dialog.locator("input").focus()
    before = dialog.evaluate("e => e.style.getPropertyValue('--wipe')")
    shared.keyboard.press("ArrowRight")
    assert dialog.evaluate("e => e.style.getPropertyValue('--wipe')") != before
    shared.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def bilinear(values: list[list[float]], x: float, y: float) -> float:
    """A map's value at shares of its width and height, between the centres of its cells."""
    grid = np.pad(np.array(values), 1, mode="edge")
    v, u = y * len(values) + 0.5, x * len(values[0]) + 0.5
    i, j = int(v), int(u)
    down, across = np.array([1 - v + i, v - i]), np.array([1 - u + j, u - j])
    return float(down @ grid[i : i + 2, j : j + 2] @ across)


def test_every_map_tells_its_value_at_the_place_of_the_pointer(
    browser: Browser, url: str, shared: Page
) -> None:
    opening = read_measured(Settings())["photos"].opening
    answer = shared.request.post(
        f"{url}/api/v1/analyze",
        multipart={
            "image": {"name": "x", "mimeType": "image/jpeg", "buffer": opening.read_bytes()},
            "models": ",".join(
                each.split(" · ")[1] for each in shared.locator(".nls-role").all_inner_texts()
            ),
            "epsilons": "none",
        },
    ).json()
    maps = [model["cam"]["values"] for model in answer["models"]]
    first = shared.locator("[data-slot='0-clean-map'] .nls-zoom")
    box = first.bounding_box()
    assert box
    for x, y in ((0.3, 0.4), (0.71, 0.62)):
        first.hover(position={"x": x * box["width"], "y": y * box["height"]})
        told = shared.locator(".nls-value")
        expect(told).to_have_count(6)  # both models': clean, attacked, their difference
        for index, values in enumerate(maps):
            text = shared.locator(f"[data-slot='{index}-clean-map'] .nls-value").get_attribute(
                "data-text"
            )
            assert float(text or "nan") == pytest.approx(
                bilinear(values, x, y),
                # as much as it may change from one pixel to the next
                abs=np.max(values) * len(values[0]) / box["width"],
            )
    shared.mouse.move(5, 5)
    expect(shared.locator(".nls-value")).to_have_count(0)
    first.focus()
    shared.keyboard.press("ArrowRight")  # where the map is largest
    top = shared.locator("[data-slot='0-clean-map'] .nls-value").get_attribute("data-text")
    assert float(top or "nan") == pytest.approx(np.max(maps[0]), abs=0.01)
    expect(shared.locator("#nls-live")).to_contain_text(f"Baseline {top}, Candidate ")
    first.click()
    shared.locator("#nls-large .stage").click()
    expect(shared.locator("#nls-large .values")).to_have_text(
        re.compile(r"Baseline [\d.]+, Candidate [\d.]+")
    )
    shared.keyboard.press("Escape")
    shared.locator("body").click(position={"x": 3, "y": 3})


def test_terms_open_on_hover_focus_and_tap(browser: Browser, url: str, shared: Page) -> None:
    word, tip = shared.locator(".nls-term", has_text="Turns at").first, "#term-flip-point"
    word.hover()
    expect(shared.locator(tip)).to_be_visible()
    word.click()
    expect(shared.locator(tip)).to_be_visible()  # a click does not close it again
    shared.mouse.move(5, 5)
    expect(shared.locator(tip)).to_be_hidden()
    shared.locator(".nls-term", has_text="Deserved?").first.focus()
    shared.keyboard.press("Shift+Tab")
    expect(shared.locator(tip)).to_be_visible()
    shared.keyboard.press("Escape")
    expect(shared.locator(tip)).to_be_hidden()
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.add_init_script("localStorage.setItem('nls-lab-tour', 'seen')")
    page.goto(f"{url}/ui")
    page.wait_for_function("() => document.querySelector('#nls-live')?.textContent", timeout=60_000)
    page.locator(".nls-term", has_text="Deserved?").first.tap()
    tapped = page.locator("#term-deserved")
    expect(tapped).to_be_visible()
    box = tapped.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    page.close()


def test_the_tour_comes_once_and_on_demand_and_obeys_the_keyboard(
    browser: Browser, url: str
) -> None:
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.goto(f"{url}/ui")
    tour = page.locator(".nls-tour")
    expect(tour).to_be_visible(timeout=30_000)
    for step in range(4):
        expect(tour.locator(".count")).to_have_text(f"{step + 1} of 4")
        box = tour.bounding_box()
        assert box
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= DESKTOP["height"]
        page.keyboard.press("Enter")  # on Next, at last on Done
    expect(tour).to_be_hidden()
    page.reload()
    expect(page.locator(".nls-sentence")).to_be_visible(timeout=30_000)
    page.wait_for_timeout(1500)
    expect(tour).to_be_hidden()
    page.get_by_role("button", name="Show the tour again").click()
    expect(tour).to_be_visible()
    page.keyboard.press("Escape")
    expect(tour).to_be_hidden()
    context.close()


def test_examples_are_small_named_and_one_stop(shared: Page) -> None:
    buttons = shared.locator("#examples button")
    names = buttons.evaluate_all("all => all.map((e) => e.getAttribute('aria-label'))")
    assert len(set(names)) == len(names) > 12
    assert all(name and not name.startswith("Thumbnail") for name in names)
    assert buttons.evaluate_all("all => all.filter((e) => e.tabIndex === 0).length") == 1
    assert shared.locator("#examples").evaluate("e => e.innerHTML.length") < 150_000
    buttons.first.focus()
    shared.keyboard.press("ArrowRight")
    assert buttons.nth(1).evaluate("e => e === document.activeElement")


def test_headings_go_down_one_by_one_and_targets_are_large_enough(shared: Page) -> None:
    levels = shared.locator("h1, h2, h3, h4").evaluate_all(
        "all => all.filter((e) => e.offsetParent).map((e) => Number(e.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    small = shared.locator("#main button, #main summary, #main input[type=range]").evaluate_all(
        """all => all.filter((e) => { const r = e.getBoundingClientRect();
        return r.width && !e.closest('.modebar') && getComputedStyle(e).display !== 'inline'
          && Math.min(r.width, r.height) < 24; })
        .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert small == []
