"""Every page by axe-core (axe.min.js beside this, from npm), as anybody may look at it.

`python -m tests.helpers.accessible` writes the table of docs/accessibility.md from the running app.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from nls_core.evidence import findings
from nls_core.settings import ROOT
from nls_core.web.pages import navigation
from tests.helpers.browsing import LOOKS, Visit, chromium, reveal, serving, settled, visits

PAGES = navigation.places()
AXE = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")
# have plots from the start
DRAWN = ("Calibration", "Robustness", "Maps", "Training", "Loss lab", "Findings")
IMPACTS = ("critical", "serious", "moderate", "minor")
TABLE = ROOT / "docs" / "accessibility.md"


def drawn(visit: Visit, title: str) -> Page:
    """A page of the app, by its title, once all of it is drawn."""
    page = visit(PAGES[title], ".js-plotly-plot .trace" if title in DRAWN else "h1")
    if title == "Compare":
        reveal(page)
    expect(page.locator(".empty.large:visible")).to_have_count(0, timeout=60_000)  # plots to come
    settled(page)
    return page


def broken(page: Page) -> tuple[list[dict[str, Any]], int]:
    """The rules that a page breaks, as axe-core tells them, and how many others it was held to."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations', 'passes']})")
    return found["violations"], len(found["passes"])


def rows(browser: Browser, url: str) -> Iterator[list[str]]:
    """The table: of each page the most in any look."""
    yield ["page", *IMPACTS, "what", "rules kept"]
    for title in PAGES:
        most: Counter[str] = Counter()
        names, kept = set(), []
        for look in LOOKS.values():
            with visits(browser, url, look) as visit:
                violations, passed = broken(drawn(visit, title))
            counted = Counter(each["impact"] for each in violations)
            most |= counted
            names |= {each["id"] for each in violations}
            kept.append(passed)
        told = ", ".join(f"`{name}`" for name in sorted(names)) or "-"
        yield [title, *(str(most[impact]) for impact in IMPACTS), told, str(min(kept))]


def main() -> None:
    """Look at all pages in all looks, and write the table."""
    with serving() as url, sync_playwright() as playwright:
        browser = chromium(playwright)
        table = list(rows(browser, url))
        browser.close()
    text = findings.markdown(table)
    page = TABLE.read_text(encoding="utf-8")
    TABLE.write_text(findings.placed(page, "axe", text, TABLE.name), encoding="utf-8")
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
