"""The real app with the real models in a real browser: what Compare answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.settings import ROOT, Settings
from tests.conftest import picture_bytes
from tests.helpers.browsing import Look, Visit, choose, reveal, settled, upload

SAYS_GAUSSIAN = "() => document.querySelector('.nls-sentence').innerText.includes('gaussian')"


def compare(visit: Visit) -> Page:
    """The page with its first answer."""
    return visit("/ui", ".nls-sentence")


def sentence(page: Page) -> str:
    return page.locator(".nls-sentence").inner_text()


def changed(page: Page, before: str) -> str:
    """The sentence once it differs from `before`."""
    page.wait_for_function(
        "before => { const e = document.querySelector('.nls-sentence');"
        " return e && e.innerText !== before; }",
        arg=before,
        timeout=180_000,  # PGD at all strengths, on a busy machine
    )
    return sentence(page)


def test_the_page_opens_on_a_finished_comparison(visit: Visit, look: Look) -> None:
    page = compare(visit)
    assert re.search(r"say|says", sentence(page))
    assert page.locator(".nls-model").count() == 2
    assert page.locator(".nls-model img").count() == 12
    for image in page.locator(".nls-model img").all():
        assert image.evaluate("e => e.complete && e.naturalWidth > 0")
        box = image.bounding_box()
        assert box
        assert 0 <= box["x"] < box["x"] + box["width"] <= look.size["width"]  # nothing is cut


def test_charts_are_drawn_as_they_come_into_sight_and_nothing_moves(visit: Visit) -> None:
    page = compare(visit)
    settled(page)
    charts = page.locator(".js-plotly-plot")
    assert charts.count() == 0  # they cost nobody anything who does not scroll there
    places = [page.locator("#deserved"), page.get_by_text("Numbers and export")]
    tops = [place.bounding_box() for place in places]
    page.locator("#course").scroll_into_view_if_needed()
    expect(charts.nth(1)).to_be_visible(timeout=30_000)
    reveal(page)
    expect(charts).to_have_count(4)
    for place, before in zip(places, tops, strict=True):
        after = place.bounding_box()
        assert before
        assert after
        assert abs(after["y"] - before["y"]) <= 12


def test_an_uploaded_picture_is_compared(visit: Visit, tmp_path: Path) -> None:
    page = compare(visit)
    file = tmp_path / "mine.jpg"
    photo = ROOT / "static" / "examples" / "photos" / "dog-kemperman.jpg"
    with Image.open(photo) as same:
        same.save(file, quality=90)  # other bytes: the page knows its examples by theirs
    assert "In truth" in sentence(page)
    upload(page, file)
    page.wait_for_function(
        "() => !document.querySelector('#result').innerText.includes('In truth')"
        " && document.querySelector('#message').innerText.trim() === ''",
        timeout=180_000,  # PGD at all strengths, on a busy machine
    )
    assert "central square" in page.locator(".nls-notes").inner_text()
    assert "animal" in sentence(page)


def test_an_example_and_a_new_attack_change_the_answer(visit: Visit) -> None:
    page = compare(visit)
    first = sentence(page)
    page.locator("#examples button").nth(3).click()
    second = changed(page, first)
    choose(page, "Attack", "gaussian (weak)")
    changed(page, second)
    page.wait_for_function(SAYS_GAUSSIAN, timeout=180_000)  # the attack's answer comes second
    reveal(page)
    expect(page.locator("#attack-steps")).to_contain_text("gaussian has no steps to show")


def test_moving_epsilon_changes_the_images_not_the_sentence(visit: Visit) -> None:
    page = compare(visit)
    reveal(page)
    steps = page.locator("#attack-steps .xtitle")  # what ships holds the steps as well
    expect(steps).to_have_text(re.compile(r"steps of pgd-linf at ε = [\d.]+/255"), timeout=30_000)
    assert page.locator("#attack-steps .scatterlayer .trace").count() >= 2
    before, text = page.locator(".nls-model").first.inner_html(), sentence(page)
    page.locator("#epsilon input[type=number]").fill("3")
    page.locator("#epsilon input[type=number]").press("Enter")
    expect(page.locator(".nls-model").first).to_contain_text("ε = 3/255", timeout=20_000)
    expect(steps).to_have_text("steps of pgd-linf at ε = 3/255", timeout=20_000)
    assert page.locator(".nls-model").first.inner_html() != before
    assert sentence(page) == text


def test_a_damaged_file_is_refused_in_words_and_the_result_stays(
    visit: Visit, tmp_path: Path
) -> None:
    page = compare(visit)
    before = sentence(page)
    file = tmp_path / "broken.png"
    file.write_bytes(picture_bytes()[:200])
    upload(page, file)
    expect(page.locator("#message .nls-error")).to_be_visible(timeout=30_000)
    assert sentence(page) == before


def test_the_report_downloads(visit: Visit) -> None:
    page = compare(visit)
    page.get_by_text("Numbers and export").click()
    page.get_by_role("button", name="Prepare JSON").click()
    link = page.locator("a[download*='.json'], a[href*='nls-lab-comparison.json']").first
    expect(link).to_be_visible(timeout=30_000)
    with page.expect_download() as waiting:
        link.click()
    data = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    assert len(data["models"]) == 2


def test_gradio_client_gets_what_rest_answers(url: str) -> None:
    from gradio_client import Client, handle_file

    file = ROOT / "static" / "examples" / "fashion" / "bag-0018.png"
    client = Client(f"{url}/ui", verbose=False)
    try:
        answer = client.predict(
            image=handle_file(str(file)),
            baseline="fashion/ce-zero",
            candidate="fashion/nls-zero",
            attack="fgsm",
            cam="layercam",
            api_name="/compare",
        )
    finally:
        client.close()
    analyzer = Analyzer(Settings())
    models = ("fashion/ce-zero", "fashion/nls-zero")
    request = AnalysisRequest(models, cam="layercam", attack="fgsm", epsilons=(1 / 255, 16 / 255))
    wanted = analyzer.analyze(file.read_bytes(), request)
    for got, model in zip(answer["models"], wanted.models, strict=True):
        assert got["prediction"]["confidence"] == pytest.approx(model.prediction.confidence)
        for i, j in ((0, 0), (15, 1)):
            seen = got["sweep"][i]["prediction"]["confidence"]
            assert seen == pytest.approx(model.sweep[j].prediction.confidence, abs=1e-4)
