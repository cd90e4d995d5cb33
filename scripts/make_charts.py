"""Draw the charts of the findings as SVG files into docs/images, with Chromium.

Run by `make charts`, or with the name of another family; needs the package chromium. The
documents that `nls findings` writes show them, and the README.
"""

from __future__ import annotations

import shutil
import sys
import urllib.parse
from pathlib import Path

from playwright.sync_api import sync_playwright

from nls_core import families
from nls_core.evidence import findings, over_epochs
from nls_core.settings import ROOT, Settings
from nls_core.views import evidence_charts, run_charts
from nls_core.web.pages import family_reports

WIDTH = 860  # pixels
DRAW = """async () => {
  const plot = document.querySelector('.js-plotly-plot');
  return await Plotly.toImage(plot, {format: 'svg', width: %d, height: plot.layout.height});
}"""


def main(family: str) -> None:
    """Write a chart for every finding of a family, as `findings.chart_name` names it.

    With those of the first family comes the one of all families' training.
    """
    models_dir = Settings().models_dir
    data = family_reports.load(family, models_dir)
    figures = {
        each.key: evidence_charts.OF_FINDING[each.key](data.evidence, data.runs)
        for each in findings.all_of(data.evidence)
    }
    if family == findings.first():
        figures[findings.OVER_EPOCHS] = run_charts.over_epochs(over_epochs.read(models_dir))
    folder = ROOT / "docs" / "images"
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        for key, figure in figures.items():
            figure.update_layout(width=WIDTH)
            page.set_content(figure.to_html(include_plotlyjs=True))
            uri = str(page.evaluate(DRAW % WIDTH))
            write(folder / findings.chart_name(key, family), uri)
        browser.close()


def write(path: Path, uri: str) -> None:
    """Store an SVG data URI as a file, and say so."""
    path.write_text(urllib.parse.unquote(uri.partition(",")[2]) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KB")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else next(iter(families.FAMILIES)))
