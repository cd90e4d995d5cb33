"""Every page by axe-core, and what all pages have."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.helpers.accessible import PAGES, broken, drawn
from tests.helpers.browsing import Visit


@pytest.mark.parametrize("title", PAGES)
def test_nothing_serious_bars_anybody(visit: Visit, title: str) -> None:
    page = drawn(visit, title)
    here = page.locator(".nls-nav [aria-current]")
    expect(here).to_have_text(title)
    expect(here).to_be_in_viewport(timeout=20_000)
    expect(page.locator(".nav-holder")).to_be_hidden()  # Gradio's own
    found = [
        (each["id"], [node["target"] for node in each["nodes"]][:3])
        for each in broken(page)[0]
        if each["impact"] in ("serious", "critical")
    ]
    assert found == [], found


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
