"""The pages beside Compare, with the real models in a real browser."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import expect

from nls_core.analysis import loss_curves
from nls_core.evidence import findings, verdicts
from nls_core.settings import Settings
from nls_core.web.pages import navigation
from nls_core.web.pages.navigation import PAGES
from tests.conftest import shipped_sample
from tests.helpers.browsing import Look, Visit


def test_the_header_leads_through_the_pages(visit: Visit) -> None:
    page = visit("/ui", ".nls-sentence")
    for title in [*PAGES, navigation.HOME_TITLE]:
        page.locator(".nls-nav").get_by_text(title, exact=True).click()
        expect(page.locator(".nls-nav [aria-current]")).to_have_text(title, timeout=30_000)


def test_the_loss_lab_draws_tells_and_measures(visit: Visit) -> None:
    page = visit("/ui/loss-lab", "#identity p")
    expect(page.locator(".js-plotly-plot")).to_have_count(3, timeout=30_000)
    assert page.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .trace").count() == len(
        loss_curves.shown()
    )
    expect(page.locator("#identity")).to_contain_text("that is rounding")
    page.get_by_label("number input for Focal γ").fill("2")
    page.get_by_label("number input for Focal γ").press("Enter")
    expect(page.locator("#identity")).to_contain_text("not hold", timeout=20_000)
    expect(page.locator("#ratios img").first).to_be_visible()
    page.locator("#measure").click()
    expect(page.locator("#border")).to_contain_text("1,000 test images", timeout=60_000)
    expect(page.locator(".js-plotly-plot")).to_have_count(4, timeout=20_000)


def test_a_point_shows_its_image_and_a_picture_finds_its_neighbours(visit: Visit) -> None:
    page = visit("/ui/features", ".nls-map .p", has_touch=True)
    count = len(shipped_sample())
    expect(page.locator(".nls-map .p")).to_have_count(2 * count)
    point = page.locator(".nls-map .p").last  # drawn last, so that nothing lies on it
    image = "e => getComputedStyle(e, '::before').backgroundImage"
    assert "data:image/png" not in point.evaluate(image)
    point.tap()
    assert "data:image/png" in point.evaluate(image)
    assert "said" in point.evaluate("e => getComputedStyle(e, '::after').content")
    page.locator("#examples button").first.tap()
    expect(page.locator(".nls-near")).to_have_count(2, timeout=30_000)
    expect(page.locator(".nls-map .new")).to_have_count(2)


def test_a_temperature_is_moved_and_the_sentence_follows(visit: Visit) -> None:
    page = visit("/ui/calibration", "#gaps b")
    expect(page.locator(".js-plotly-plot")).to_have_count(4, timeout=30_000)
    expect(page.locator("#gaps")).to_contain_text("ce, zero, T = 1.00: overconfident")
    number = page.get_by_label("number input for T")
    number.fill("3")
    number.press("Enter")
    expect(page.locator("#gaps")).to_contain_text(
        "ce, zero, T = 3.00: underconfident", timeout=20_000
    )
    expect(page.locator("#calibration-table")).to_contain_text("ce + T, zero")
    told = page.locator(".js-plotly-plot").first.locator("[role=img]")
    expect(told).to_have_attribute("aria-label", re.compile(r"^ce-zero, T = 3\.00.* % at "))
    with page.expect_download() as kept:  # charts of a dark page are saved light, too
        page.get_by_role("button", name="Save as PNG").first.click()
    assert kept.value.suggested_filename == "nls-lab-ce-zero-t-3-00-15-bins.png"
    with Image.open(kept.value.path()) as picture:
        assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
        assert picture.width >= 1600
    with page.expect_download() as kept:
        page.get_by_role("button", name="Save as SVG").first.click()
    assert kept.value.suggested_filename == "nls-lab-ce-zero-t-3-00-15-bins.svg"
    drawn = ElementTree.parse(kept.value.path()).getroot()
    assert drawn.tag.endswith("svg")
    assert "accuracy" in "".join(drawn.itertext())


@pytest.mark.parametrize(
    ("slug", "sign", "plots"),
    [("robustness", "#masking td", 4), ("training", "#aberration-table td", 5)],
)
def test_the_reports_are_drawn_and_tabled(
    visit: Visit, look: Look, slug: str, sign: str, plots: int
) -> None:
    page = visit(f"/ui/{slug}?__theme={look.theme}", sign)
    expect(page.locator(".js-plotly-plot")).to_have_count(plots, timeout=30_000)
    for number in range(plots):
        assert page.locator(".js-plotly-plot").nth(number).locator(".trace, .hm").count() > 0
        told = page.locator(".js-plotly-plot").nth(number).locator("[role=img]")
        expect(told).to_have_attribute("aria-label", re.compile(r"\d.*\d"))
    last = page.locator(".nls-contents a").last
    key = (last.get_attribute("href") or "").partition("#")[2]
    last.click()
    expect(page.locator(f"h2#{key}")).to_be_in_viewport()
    expect(page.locator(f"h2#{key}")).to_be_focused()  # where a keyboard goes on
    assert page.url.endswith(f"/ui/{slug}?__theme={look.theme}#{key}")


def test_the_findings_lead_from_verdict_to_chart(visit: Visit) -> None:
    page = visit("/ui/findings", "#verdicts .nls-badge")
    judged = len(findings.all_of(verdicts.read("fashion", Settings().models_dir)))
    expect(page.locator("#verdicts .nls-badge")).to_have_count(judged)
    # and one without a verdict, of the epochs
    expect(page.locator(".js-plotly-plot")).to_have_count(judged + 1, timeout=40_000)
    page.locator('#verdicts a[href$="#finding-robustness"]').click()
    expect(page.locator("#finding-robustness h2")).to_be_in_viewport()
