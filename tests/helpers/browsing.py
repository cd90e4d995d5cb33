"""The real app, and pages of it in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Request,
    ViewportSize,
    expect,
)

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
DESKTOP, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=390, height=844)
# Gradio's pages have the class once they are there; /docs leaves it to the browser
IN_THEME = """theme => !document.querySelector('gradio-app')
  || document.body.classList.contains('dark') === (theme === 'dark')"""
# refusals that a test provokes, and what Gradio says of its streams as a page is left
EXPECTED = re.compile(
    r"the server responded with a status of 4\d\d|AbortError: signal|Connection errored out"
)


@dataclass(frozen=True)
class Look:
    """How somebody looks at the app: the size of the window, and the theme of the system."""

    size: ViewportSize
    theme: str

    @property
    def narrow(self) -> bool:
        """Whether it is a phone, on which menus are folded away."""
        return self.size is PHONE


LOOKS = {
    "wide-light": Look(DESKTOP, "light"),
    "narrow-dark": Look(PHONE, "dark"),
    "wide-dark": Look(DESKTOP, "dark"),
    "narrow-light": Look(PHONE, "light"),
}
Visit = Callable[..., Page]


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


def chromium(playwright: Playwright) -> Browser:
    """Debian's Chromium, without a window."""
    place = shutil.which("chromium") or shutil.which("chromium-browser")
    assert place, "Chromium is needed; `make test` installs it"
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    return playwright.chromium.launch(executable_path=place, args=flags)


def open_page(
    browser: Browser, address: str, sign: str, size: ViewportSize, **options: object
) -> tuple[Page, list[str]]:
    """A page on which `sign` (a selector) is seen and all is made, and what goes wrong on it.

    The list collects requests to other hosts, and errors of the page and its console; `options`
    are the browser's.
    """
    page = browser.new_page(viewport=size, **options)  # type: ignore[arg-type]
    page.add_init_script("localStorage.setItem('nls-lab-tour', 'seen')")  # no tour in the way
    trouble: list[str] = []
    own = urljoin(address, "/")

    def look(request: Request) -> None:
        if not request.url.startswith((own, "data:", "blob:")):
            trouble.append(request.url)

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED.search(message.text):
            trouble.append(message.text)

    page.on("request", look)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", listen)
    page.goto(address)
    expect(page.locator(sign).first).to_be_visible(timeout=60_000)
    settled(page)
    return page, trouble


@contextmanager
def visits(browser: Browser, url: str, look: Look) -> Iterator[Visit]:
    """Opens pages of the app, by their path, as `look`; what is to hold of each is looked at last.

    That is: no trouble, the theme of the system or of the address, and nothing beside the edge.
    """
    opened: list[tuple[Page, list[str]]] = []

    def visit(path: str, sign: str, **options: object) -> Page:
        """A page on which `sign`, a selector, is seen; `options` are the browser's."""
        options = {"color_scheme": look.theme} | options
        opened.append(open_page(browser, url + path, sign, look.size, **options))
        return opened[-1][0]

    yield visit
    for page, trouble in opened:
        if not page.is_closed():
            asked = parse_qs(urlsplit(page.url).query).get("__theme", [look.theme])[0]
            page.wait_for_function(IN_THEME, arg=asked, timeout=20_000)
            assert page.evaluate("document.documentElement.scrollWidth") <= look.size["width"]
            page.close()
        assert not trouble, trouble


def choose(page: Page, menu: str, option: str, *, exact: bool = True) -> None:
    """Take an option of a menu, which on a phone may be folded away."""
    unfold(page, field := page.get_by_label(menu, exact=True))
    field.click()
    page.get_by_role("option", name=option, exact=exact).click()


def unfold(page: Page, wanted: Locator) -> None:
    """Open the menus of Compare, unless what is wanted is seen."""
    if not wanted.is_visible():
        page.get_by_role("button", name="Models and map").click()


def upload(page: Page, file: Path) -> None:
    """Put a file in the place of the picture that is shown."""
    page.locator("#upload button[aria-label='Remove Image']").click()
    page.locator("#upload input[type=file]").set_input_files(str(file))


def reveal(page: Page) -> None:
    """Scroll to the charts of Compare, which are drawn as they come into sight, and back."""
    for place in ("#course", "#deserved"):
        page.locator(place).scroll_into_view_if_needed()
        expect(page.locator(f"{place} .js-plotly-plot")).to_have_count(2, timeout=60_000)
    page.evaluate("scrollTo(0, 0)")


def settled(page: Page) -> None:
    """Wait until a page is made."""
    page.evaluate(SETTLED)
