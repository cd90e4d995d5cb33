"""Every page by axe-core (tests/helpers/axe.min.js, from npm), wide and light, narrow and dark."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from nls_core.settings import ROOT
from nls_core.web.pages import navigation
from tests.helpers.browsing import DESKTOP, PHONE, open_page, settled

AXE = (ROOT / "tests" / "helpers" / "axe.min.js").read_text(encoding="utf-8")
PAGES = {navigation.HOME_TITLE: "/ui/", navigation.API: "/docs"} | {
    title: f"/ui/{navigation.slug(title)}" for title in navigation.PAGES
}
DRAWN = (
    "Compare",
    "Calibration",
    "Robustness",
    "Maps",
    "Training",
    "Loss lab",
    "Findings",
)  # have plots
COLOUR = "getComputedStyle(document.querySelector('.nls-brand')).color"


def serious(page: Page) -> list[tuple[str, Any]]:
    """Rules of serious or critical impact that are broken, and where."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (each["id"], [node["target"] for node in each["nodes"]][:3])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("title", PAGES)
def test_nothing_serious_bars_anybody(browser: Browser, url: str, title: str) -> None:
    sign = ".js-plotly-plot .trace" if title in DRAWN else "h1"
    page, trouble = open_page(browser, f"{url}{PAGES[title]}", sign, DESKTOP, color_scheme="light")
    expect(page.locator(".empty.large:visible")).to_have_count(0, timeout=60_000)  # plots to come
    settled(page)
    page.evaluate(AXE)
    assert (found := serious(page)) == [], found
    light = page.evaluate(COLOUR)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function(f"light => {COLOUR} !== light", arg=light)
    page.wait_for_timeout(400)  # colours fade
    assert (found := serious(page)) == [], found
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert trouble == []
    page.close()


def test_a_theme_goes_along_and_each_page_has_its_title(browser: Browser, url: str) -> None:
    address = f"{url}/ui/findings?__theme=dark#finding-robustness"
    page, trouble = open_page(browser, address, "#finding-robustness h2", DESKTOP)
    expect(page.locator("#finding-robustness h2")).to_be_in_viewport(timeout=30_000)
    expect(page).to_have_title("Findings - NLS Lab")
    page.locator(".nls-nav").get_by_text("API", exact=True).click()
    expect(page).to_have_title("NLS Lab API")
    scheme = page.locator("meta[name=color-scheme]").get_attribute("content")
    assert scheme == "dark"
    page.locator(".nls-nav").get_by_text("Loss lab", exact=True).click()
    expect(page).to_have_title("Loss lab - NLS Lab")
    assert page.url.endswith("/ui/loss-lab?__theme=dark")
    page.wait_for_function("document.body.classList.contains('dark')")  # once Gradio is there
    assert trouble == []
    page.close()
