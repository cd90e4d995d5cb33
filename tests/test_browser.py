"""The real app with the real models in a real browser, at desktop and phone width."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from nls_core.analyzer import Analyzer
from nls_core.settings import ROOT, Settings
from nls_core.types import AnalysisRequest
from tests.conftest import picture_bytes

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where `python app.py` answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "NLS_PORT": str(port), "NLS_HOST": "127.0.0.1"}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{address}/readyz", timeout=2):
                    break
            except OSError:
                assert process.poll() is None, "the app stopped at the start"
                assert time.monotonic() < deadline, "the app did not answer in 90 s"
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "Chromium is needed; `make test` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def open_page(browser: Browser, url: str, size: dict[str, int]) -> tuple[Page, list[str]]:
    """The Compare page, and a list that collects requests to other hosts and page errors."""
    page = browser.new_page(viewport=size)
    trouble: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            trouble.append(request.url)

    page.on("request", look)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(f"{url}/ui")
    expect(page.locator(".nls-sentence")).to_be_visible(timeout=30_000)
    return page, trouble


def sentence(page: Page) -> str:
    return page.locator(".nls-sentence").inner_text()


def changed(page: Page, before: str) -> str:
    """The sentence once it differs from `before`."""
    page.wait_for_function(
        "before => { const e = document.querySelector('.nls-sentence');"
        " return e && e.innerText !== before; }",
        arg=before,
        timeout=60_000,
    )
    return sentence(page)


def test_the_page_opens_on_a_finished_comparison(browser: Browser, url: str) -> None:
    page, trouble = open_page(browser, url, DESKTOP)
    assert re.search(r"say|says", sentence(page))
    assert page.locator(".nls-model").count() == 2
    assert page.locator(".nls-strip img").count() == 10
    for image in page.locator(".nls-strip img").all():
        assert image.evaluate("e => e.complete && e.naturalWidth > 0")
    expect(page.locator(".js-plotly-plot")).to_have_count(3, timeout=30_000)
    assert trouble == []
    page.close()


def test_an_uploaded_picture_is_compared(browser: Browser, url: str, tmp_path: Path) -> None:
    page, trouble = open_page(browser, url, DESKTOP)
    before = page.locator("#result").inner_html()
    file = tmp_path / "product.png"
    file.write_bytes(picture_bytes(300, 400))
    page.locator("#upload button[aria-label='Remove Image']").click()
    page.locator("#upload input[type=file]").set_input_files(str(file))
    page.wait_for_function(
        "before => document.querySelector('#result').innerHTML !== before"
        " && document.querySelector('#message').innerText.trim() === ''",
        arg=before,
        timeout=60_000,
    )
    assert "bright background" in page.locator(".nls-notes").inner_text()
    assert trouble == []
    page.close()


def test_an_example_and_a_new_attack_change_the_answer(browser: Browser, url: str) -> None:
    page, trouble = open_page(browser, url, DESKTOP)
    first = sentence(page)
    page.locator("#examples button.thumbnail-item, #examples .grid-container button").nth(3).click()
    second = changed(page, first)
    page.get_by_label("Attack", exact=True).click()
    page.get_by_role("option", name="gaussian", exact=True).click()
    third = changed(page, second)
    assert "gaussian" in third
    assert trouble == []
    page.close()


def test_moving_epsilon_changes_the_images_not_the_sentence(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, DESKTOP)
    before, text = page.locator(".nls-strip").first.inner_html(), sentence(page)
    page.locator("#epsilon input[type=number]").fill("9")
    page.locator("#epsilon input[type=number]").press("Enter")
    expect(page.locator(".nls-strip").first).to_contain_text("9/255", timeout=20_000)
    assert page.locator(".nls-strip").first.inner_html() != before
    assert sentence(page) == text
    page.close()


def test_a_damaged_file_is_refused_in_words_and_the_result_stays(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    page, _ = open_page(browser, url, DESKTOP)
    before = sentence(page)
    file = tmp_path / "broken.png"
    file.write_bytes(picture_bytes()[:200])
    page.locator("#upload button[aria-label='Remove Image']").click()
    page.locator("#upload input[type=file]").set_input_files(str(file))
    expect(page.locator("#message .nls-error")).to_be_visible(timeout=30_000)
    assert sentence(page) == before
    page.close()


def test_the_report_downloads(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, DESKTOP)
    page.get_by_text("Numbers and export").click()
    page.get_by_role("button", name="Prepare JSON").click()
    link = page.locator("a[download*='.json'], a[href*='nls-lab-comparison.json']").first
    expect(link).to_be_visible(timeout=30_000)
    with page.expect_download() as waiting:
        link.click()
    data = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    assert len(data["models"]) == 2
    page.close()


def test_a_phone_shows_everything_without_sideways_scrolling(browser: Browser, url: str) -> None:
    page, trouble = open_page(browser, url, PHONE)
    expect(page.locator(".nls-model")).to_have_count(2)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"]
    strip = page.locator(".nls-strip").first
    assert strip.evaluate("e => e.scrollWidth > e.clientWidth")  # the images scroll by themselves
    assert trouble == []
    page.close()


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
