"""What Compare does in the browser as its controls are moved: one question, one answer."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, Request, expect

from tests.helpers.browsing import Visit, choose, unfold, upload

expect.set_options(timeout=30_000)  # a busy machine
READY = "() => document.querySelector('#message').innerText.trim() === ''"


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


def test_strengths_are_switched_without_asking(visit: Visit) -> None:
    page = anew(visit)
    page.wait_for_function(  # until what is shown at each strength is there: no answer between two
        """() => { const range = document.querySelector('#epsilon input[type=range]');
        return ['3', '2'].every((value) => {
          range.value = value; range.dispatchEvent(new Event('input', { bubbles: true }));
          return document.querySelector('.nls-model').innerText.includes(`ε = ${value}/255`);
        }); }""",
        timeout=60_000,
    )
    assert all(move(page, value) for value in ("0.25", "2", "3.5", "4", "0.75"))
    settle(page)  # what is answered last is of the same strength
    expect(page.locator(".nls-model").first).to_contain_text("ε = 0.75/255")
    assert page.locator("#result .nls-result").get_attribute("data-epsilon") == "0.75"
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
    page.wait_for_function(  # nothing goes on behind it; Square alone would take half a minute
        "async () => (await (await fetch('/metrics')).text()).includes('nls_queue_in_use 0.0')",
        timeout=10_000,
    )
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
            upload(page, file)
        page.wait_for_function(
            "name => document.querySelector('#upload img')?.src.includes(name)", arg=file.stem
        )
        assert sent.value.method == "POST"
        got = page.request.get(page.locator("#upload img").get_attribute("src") or "").body()
        with Image.open(io.BytesIO(got)) as picture:
            assert picture.size == size
    expect(page.locator("#message .nls-error")).to_have_count(0)
    page.close()


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
