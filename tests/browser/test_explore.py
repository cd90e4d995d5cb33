"""What Compare does in the browser by itself: strengths at once, zoom, terms, tour, one voice."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect

from nls_core.analysis.examples import read_measured
from nls_core.settings import Settings
from tests.helpers import browsing
from tests.helpers.browsing import DESKTOP, PHONE, Look, Visit, choose, unfold, visits

expect.set_options(timeout=30_000)  # a busy machine
READY = "() => document.querySelector('#message').innerText.trim() === ''"


@pytest.fixture(scope="module")
def shared(browser: Browser, url: str, look: Look) -> Iterator[Page]:
    """One page for tests that leave it as it was."""
    with visits(browser, url, look) as visit:
        yield visit("/ui", ".nls-sentence")


def anew(visit: Visit) -> Page:
    """A page whose scripts have begun."""
    page = visit("/ui", ".nls-sentence")
    page.wait_for_function("() => document.querySelector('#nls-live')?.textContent", timeout=60_000)
    return page


def joins(page: Page) -> list[dict[str, Any]]:
    """The calls that a page makes from now on."""
    calls: list[dict[str, Any]] = []

    def look(request: Request) -> None:
        if "queue/join" in request.url:
            calls.append(json.loads(request.post_data or "{}"))

    page.on("request", look)
    return calls


def settle(page: Page) -> None:
    page.wait_for_timeout(500)
    page.wait_for_function(READY, timeout=180_000)


def turn_to_fashion(page: Page) -> None:
    choose(page, "Family", "fashion")
    page.wait_for_selector(".nls-cells", timeout=60_000)
    settle(page)


def move(page: Page, value: str) -> bool:
    """Move ε, and say whether the pictures followed before anybody could have answered."""
    return bool(
        page.evaluate(
            """value => { const range = document.querySelector('#epsilon input[type=range]');
            range.value = value; range.dispatchEvent(new Event('input', { bubbles: true }));
            return document.querySelector('.nls-model').innerText.includes(
              `ε = ${value}/255`); }""",
            value,
        )
    )


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


def test_strengths_are_switched_without_asking(visit: Visit) -> None:
    page = anew(visit)
    page.wait_for_function(
        """() => { const range = document.querySelector('#epsilon input[type=range]');
        range.value = '1'; range.dispatchEvent(new Event('input', { bubbles: true }));
        return document.querySelector('.nls-model').innerText.includes('ε = 1/255'); }""",
        timeout=60_000,
    )
    assert all(move(page, value) for value in ("0.25", "2", "3.5", "4", "0.75"))
    settle(page)  # what is answered last is of the same strength
    expect(page.locator(".nls-model").first).to_contain_text("ε = 0.75/255")
    assert page.locator("#result .nls-result").get_attribute("data-epsilon") == "0.75"
    page.close()


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


def test_a_choice_by_mouse_asks_once(visit: Visit) -> None:
    page = anew(visit)
    turn_to_fashion(page)
    calls = joins(page)
    choose(page, "Activation map", "layercam")
    settle(page)
    page.wait_for_timeout(500)
    computing = [call for call in calls if "layercam" in call["data"]]
    functions = [call["fn_index"] for call in computing]
    assert len(functions) == len(set(functions)), functions
    page.close()


def test_further_models_come_as_cards_and_go(visit: Visit) -> None:
    page = anew(visit)
    turn_to_fashion(page)
    choose(page, "More models", "(ls-zero)", exact=False)
    expect(page.locator(".nls-model")).to_have_count(3, timeout=60_000)
    expect(page.locator(".nls-others")).to_contain_text("Beside them, label smoothing: ")
    expect(page.locator(".nls-role").nth(2)).to_contain_text("Model 3 · fashion/ls-zero")
    page.get_by_label("More models", exact=True).press("Backspace")
    page.keyboard.press("Tab")
    expect(page.locator(".nls-model")).to_have_count(2, timeout=60_000)
    expect(page.locator(".nls-others")).to_have_count(0)
    page.close()


def test_while_it_computes_the_old_result_stays_dimmed_and_can_be_stopped(visit: Visit) -> None:
    page = anew(visit)
    page.evaluate(
        """() => { window.seen = new Set(); new MutationObserver(() => {
          for (const [what, selector] of Object.entries({ old: '#message .nls-old',
            busy: '#message .nls-busy', bar: '#main .wrap:not(.hide) .progress-text' })) {
            if (document.querySelector(selector)) seen.add(what); }
        }).observe(document.body, { childList: true, subtree: true, attributes: true }); }"""
    )
    page.get_by_role("button", name=re.compile("Dog")).first.click()  # which resists for long
    settle(page)
    top = page.locator("#result").bounding_box()
    choose(page, "Attack", "square")
    expect(page.locator("#stop")).to_be_visible(timeout=30_000)
    busy = page.locator("#result").bounding_box()
    assert top
    assert busy
    assert top["y"] == busy["y"]  # nothing moves
    page.locator("#stop").click()
    expect(page.locator("#message")).to_contain_text("Stopped", timeout=30_000)
    page.wait_for_timeout(1500)
    expect(page.locator("#message")).to_contain_text("Stopped")
    expect(page.locator("#stop")).to_be_hidden()
    assert page.evaluate("[...seen].sort().join()") == "busy,old"
    page.close()


def test_a_removed_picture_leaves_the_old_result_dimmed(visit: Visit) -> None:
    page = anew(visit)
    page.locator("#upload button[aria-label='Remove Image']").click()
    expect(page.locator("#message")).to_contain_text("click an example", timeout=20_000)
    page.wait_for_function(
        "() => getComputedStyle(document.querySelector('#result')).opacity < 0.6"
    )
    page.locator("#examples button").nth(1).click()
    page.wait_for_function(
        "() => getComputedStyle(document.querySelector('#result')).opacity === '1'", timeout=60_000
    )
    page.close()


def test_a_bad_seed_is_told_in_the_words_of_rest(visit: Visit) -> None:
    page = anew(visit)
    unfold(page, advanced := page.get_by_text("Advanced"))
    advanced.click()
    page.wait_for_timeout(500)  # what was folded away is made, and begins to listen
    page.get_by_label("Seed").fill("-1")
    page.get_by_label("Seed").press("Enter")
    expect(page.locator("#message .nls-error")).to_contain_text("seed", timeout=30_000)
    assert page.locator(".toast-body").count() == 0
    page.close()


def test_a_photo_beyond_the_limits_is_made_smaller_before_it_is_sent(
    visit: Visit, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    Image.new("RGB", (8000, 6000), (30, 120, 60)).save(large, quality=50)  # 48 megapixels
    heavy = tmp_path / "heavy.png"
    noise = Image.effect_noise((2600, 2600), 90)
    Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))).save(heavy, compress_level=0)
    assert heavy.stat().st_size > 10_000_000
    page = anew(visit)
    for file, size in ((large, (2048, 1536)), (heavy, (2048, 2048))):
        with page.expect_request(lambda request: "gradio_api/upload" in request.url) as sent:
            page.locator("#upload button[aria-label='Remove Image']").click()
            page.locator("#upload input[type=file]").set_input_files(str(file))
        page.wait_for_function(
            "name => document.querySelector('#upload img')?.src.includes(name)", arg=file.stem
        )
        assert sent.value.method == "POST"
        got = page.request.get(page.locator("#upload img").get_attribute("src") or "").body()
        with Image.open(io.BytesIO(got)) as picture:
            assert picture.size == size
    expect(page.locator("#message .nls-error")).to_have_count(0)
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


def test_the_keyboard_reaches_epsilon_in_a_few_steps(visit: Visit) -> None:
    page = anew(visit)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the skip link
    for _ in range(3):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#epsilon') !== null"):
            break
    assert page.evaluate("document.activeElement.closest('#epsilon') !== null")
    page.close()


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


def test_a_change_is_announced(visit: Visit) -> None:
    page = anew(visit)
    live = page.locator("#nls-live")
    expect(live).to_have_text(page.locator(".nls-sentence").inner_text(), timeout=10_000)
    turn_to_fashion(page)
    expect(live).to_have_text(page.locator(".nls-sentence").inner_text(), timeout=10_000)
    page.close()


def test_a_story_sets_everything_that_it_tells_of(visit: Visit) -> None:
    page = anew(visit)
    button = page.locator("#stories button").nth(1)
    told = re.search(r"is ([\d.]+ %) sure that it is (\w+)", button.text_content() or "")
    assert told
    button.click()
    page.wait_for_function(
        "text => document.querySelector('.nls-cards').innerText.includes(text)",
        arg=f"{told[2]}, {told[1]}",
        timeout=120_000,
    )
    assert page.locator("#epsilon input[type=number]").input_value() == "0.25"
