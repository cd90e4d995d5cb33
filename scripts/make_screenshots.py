"""Take the pictures of README and of link previews anew, from the real app: `make screenshots`.

Names of pictures as arguments take these alone. The app is started on a port of its own with the
shipped models, and looked at in Debian's Chromium as a visitor who has seen the tour.
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
PREVIEW = "preview"
PATIENCE = 120  # seconds
SEEN = "localStorage.setItem('nls-lab-tour', 'seen')"
# all three charts are drawn, and nothing is being computed
DONE = """() => document.querySelectorAll('.js-plotly-plot .main-svg').length >= 3
  && document.querySelector('#message').innerText.trim() === ''"""


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
            browser.close()
    finally:
        app.terminate()
        app.wait()


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
    # the bar that follows the reader would lie over the middle of a picture of the whole page
    page.add_style_tag(content="#strength { position: static !important; }")
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    taken.quantize(256).save(path, optimize=True)  # a third of the bytes
    sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
