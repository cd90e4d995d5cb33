"""Every page by axe-core (tests/helpers/axe.min.js, from npm), and what all pages have."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from nls_core.settings import ROOT
from nls_core.web.pages import navigation
from tests.helpers.browsing import Visit, settled

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


def serious(page: Page) -> list[tuple[str, Any]]:
    """Rules of serious or critical impact that are broken, and where."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (each["id"], [node["target"] for node in each["nodes"]][:3])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("title", PAGES)
def test_nothing_serious_bars_anybody(visit: Visit, title: str) -> None:
    sign = ".js-plotly-plot .trace" if title in DRAWN else "h1"
    page = visit(PAGES[title], sign)
    expect(page.locator(".empty.large:visible")).to_have_count(0, timeout=60_000)  # plots to come
    settled(page)
    here = page.locator(".nls-nav [aria-current]")
    expect(here).to_have_text(title)
    expect(here).to_be_in_viewport(timeout=20_000)
    expect(page.locator(".nav-holder")).to_be_hidden()  # Gradio's own
    page.evaluate(AXE)
    assert (found := serious(page)) == [], found


def test_a_theme_goes_along_and_each_page_has_its_title(visit: Visit) -> None:
    page = visit("/ui/findings?__theme=dark#finding-robustness", "#finding-robustness h2")
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
