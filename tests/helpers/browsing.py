"""The real app, and pages of it in a real browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, Request, expect

from nls_core.settings import ROOT

PATIENCE = 240  # seconds for a start; 5 to 10 where nothing else runs
# nothing has been added for half a second (or 15 seconds are over): while a page is being made,
# what is clicked may not listen yet, and what is pointed at moves
SETTLED = """() => new Promise((done) => {
  const quiet = () => setTimeout(done, 500);
  let timer = quiet();
  setTimeout(done, 15000);
  new MutationObserver(() => { clearTimeout(timer); timer = quiet(); })
    .observe(document, {childList: true, subtree: true}); })"""
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def serving() -> Iterator[str]:
    """Where `python app.py` answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "NLS_PORT": str(port), "NLS_HOST": "127.0.0.1"}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{address}/readyz", timeout=2):
                    break
            except OSError:
                assert process.poll() is None, "the app stopped at the start"
                assert time.monotonic() < deadline, f"the app did not answer in {PATIENCE} s"
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def open_page(
    browser: Browser, address: str, sign: str, size: dict[str, int], **options: object
) -> tuple[Page, list[str]]:
    """A page on which `sign` (a selector) is seen and all is made, and what goes wrong on it.

    The list collects requests to other hosts and page errors; `options` are the browser's.
    """
    page = browser.new_page(viewport=size, **options)  # type: ignore[arg-type]
    page.add_init_script("localStorage.setItem('nls-lab-tour', 'seen')")  # no tour in the way
    trouble: list[str] = []
    own = address.partition("/ui")[0]

    def look(request: Request) -> None:
        if not request.url.startswith((own, "data:", "blob:")):
            trouble.append(request.url)

    page.on("request", look)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(address)
    expect(page.locator(sign).first).to_be_visible(timeout=60_000)
    settled(page)
    return page, trouble


def settled(page: Page) -> None:
    """Wait until a page is made."""
    page.evaluate(SETTLED)
