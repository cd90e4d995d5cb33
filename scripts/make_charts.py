"""Draw the charts of the findings as SVG files into docs/images, with Chromium.

Run by `make charts`; needs the package chromium. `docs/findings.md` and the README show them.
"""

from __future__ import annotations

import shutil
import urllib.parse
from pathlib import Path

from playwright.sync_api import sync_playwright

from nls_core.settings import ROOT, Settings
from nls_core.views import evidence_charts
from nls_core.web.pages import family_reports

WIDTH = 860  # pixels
DRAW = """async () => {
  const plot = document.querySelector('.js-plotly-plot');
  return await Plotly.toImage(plot, {format: 'svg', width: %d, height: plot.layout.height});
}"""


def main() -> None:
    """Write docs/images/finding-<key>.svg for every finding."""
    data = family_reports.load("fashion", Settings().models_dir)
    folder = ROOT / "docs" / "images"
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        for key, draw in evidence_charts.OF_FINDING.items():
            figure = draw(data.evidence, data.runs)
            figure.update_layout(width=WIDTH)
            page.set_content(figure.to_html(include_plotlyjs=True))
            uri = str(page.evaluate(DRAW % WIDTH))
            write(folder / f"finding-{key}.svg", uri)
        browser.close()


def write(path: Path, uri: str) -> None:
    """Store an SVG data URI as a file, and say so."""
    path.write_text(urllib.parse.unquote(uri.partition(",")[2]) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KB")  # noqa: T201


if __name__ == "__main__":
    main()
