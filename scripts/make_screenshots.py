"""Take the pictures of README and of link previews anew, from the real app: `make screenshots`.

Names of pictures as arguments take these alone; `tour` is the way of somebody who comes for the
first time, in five pictures (docs/tour.md), with the time that it takes here. The app is started on
a port of its own with the shipped models, and looked at in Debian's Chromium as a visitor who has
seen the tour.
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from nls_core.settings import ROOT
from nls_core.web.pages.heads import PICTURE, PICTURE_SIZE

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PICTURES = {"compare-desktop": (1280, 900), "compare-phone": (390, 844)}  # name -> the window
PREVIEW, TOUR = "preview", "tour"
OWN = ROOT / "static/examples/photos/dog-kemperman.jpg"  # uploaded under another name
PATIENCE = 300  # seconds
SEEN = "localStorage.setItem('nls-lab-tour', 'seen')"
# there is an answer, and nothing is being computed
DONE = """() => document.querySelector('.nls-sentence')
  && document.querySelector('#message').innerText.trim() === ''"""
CHARTS = ("course", "deserved")  # what holds those that are drawn in sight
DRAWN = """place => document.querySelectorAll(`#${place} .js-plotly-plot .main-svg`).length >= 2"""


def main(only: Sequence[str]) -> None:
    """Start the app, take the pictures (all, or `only` some), end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={**os.environ, "NLS_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/readyz")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--hide-scrollbars"]
            )
            for name, (width, height) in (PICTURES | {PREVIEW: PICTURE_SIZE}).items():
                if only and name not in only:
                    continue
                page = browser.new_page(viewport={"width": width, "height": height})
                page.add_init_script(SEEN)
                _take(page, f"{url}/ui/", name)
            if not only or TOUR in only:
                page = browser.new_page(viewport={"width": 1100, "height": 760})
                page.add_init_script(SEEN)
                _tour(page, f"{url}/ui/")
            browser.close()
    finally:
        app.terminate()
        app.wait()


def _tour(page: Page, url: str) -> None:
    """Open, understand, upload, conclude, share; each a picture, and all of it timed."""
    begun = time.monotonic()
    page.goto(url)
    page.wait_for_function(DONE, timeout=PATIENCE * 1000)
    _keep(page, 1, "open")
    number = page.locator("#epsilon input[type=number]")
    number.fill("2")
    number.press("Enter")
    page.wait_for_selector(".nls-result[data-epsilon='2']")
    page.locator(".nls-gauges").first.scroll_into_view_if_needed()
    _keep(page, 2, "understand")
    before = page.locator(".nls-paint").get_attribute("data-picture")
    page.locator("#upload button[aria-label='Remove Image']").click()
    page.locator("#upload input[type=file]").set_input_files(
        {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": OWN.read_bytes()}
    )
    page.wait_for_function(
        "before => document.querySelector('.nls-paint').dataset.picture !== before",
        arg=before,
        timeout=PATIENCE * 1000,
    )
    page.wait_for_function(DONE, timeout=PATIENCE * 1000)
    page.evaluate("scrollTo(0, 0)")
    _keep(page, 3, "upload")
    page.get_by_text("Is the confidence deserved?").scroll_into_view_if_needed()
    page.evaluate("scrollBy(0, 500)")
    page.wait_for_function(DRAWN, arg="deserved", timeout=PATIENCE * 1000)
    _keep(page, 4, "conclude")
    page.get_by_text("Numbers and export").click()
    page.get_by_role("button", name="Prepare HTML report").click()
    page.wait_for_selector("a[href*='.html']", timeout=PATIENCE * 1000)
    _keep(page, 5, "share")
    sys.stdout.write(f"from opening to the report: {time.monotonic() - begun:.0f} s\n")


def _keep(page: Page, number: int, name: str) -> None:
    page.wait_for_timeout(400)  # what fades and scrolls has come to rest
    path = ROOT / "docs" / "images" / f"tour-{number}-{name}.webp"
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=72, method=6)
    sys.stdout.write(f"{path.relative_to(ROOT)}\n")


def _wait(url: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own address
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def _take(page: Page, url: str, name: str) -> None:
    page.goto(url)
    page.wait_for_function(DONE, timeout=PATIENCE * 1000)
    page.evaluate("document.activeElement?.blur?.()")
    if name == PREVIEW:  # the first screen, in a form that all previews know
        path = ROOT / "static" / PICTURE.removeprefix("/")
        Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=80)
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
        return
    path = ROOT / "docs" / "images" / f"{name}.png"
    for place in CHARTS:
        page.locator(f"#{place}").scroll_into_view_if_needed()
        page.wait_for_function(DRAWN, arg=place, timeout=PATIENCE * 1000)
    page.evaluate("scrollTo(0, 0)")
    # the bar that follows the reader would lie over the middle of a picture of the whole page
    page.add_style_tag(content="#strength { position: static !important; }")
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    taken.quantize(256).save(path, optimize=True)  # a third of the bytes
    sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
