"""What Compare gives to take along: an analysis as a file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nls_core import files
from nls_core.analysis import focus
from nls_core.analysis.focus import Marked
from nls_core.analysis.results import Analysis
from nls_core.errors import InvalidInput
from nls_core.settings import Settings
from nls_core.views import focus_html, panels, report
from nls_core.web.edge import scratch
from nls_core.web.rest import schemas


@dataclass(frozen=True)
class Told:
    """An analysis, what of it is shown, and the name of its picture's file."""

    analysis: Analysis
    view: panels.View
    file: str


def write(settings: Settings, kind: str, told: Told, marked: Marked | None = None) -> Path:
    """Write an analysis to a new file of a kind: 'json', 'csv', 'html', or 'zip' of its charts.

    Where an object is marked, JSON and HTML hold the focus of every model.
    """
    analysis, view = told.analysis, told.view
    path = scratch.fresh(settings, f"nls-lab-comparison.{kind}")
    if kind == "json":
        answer = schemas.analysis_response(analysis, _focus(analysis, marked))
        files.write_text(path, answer.model_dump_json(indent=2))
    elif kind == "csv":
        files.write_text(path, report.table(analysis))
    elif kind == "zip":
        files.write_bytes(path, zipped(report.charts(analysis, view)))
    else:
        css = (settings.static_dir / "style.css").read_text(encoding="utf-8")
        more = focus_html.report(analysis, view.index, marked) if marked else ""
        origin = report.Origin(told.file)
        files.write_text(path, report.page(analysis, origin, css=css, view=view, more=more))
    return path


def zipped(texts: Mapping[str, str]) -> bytes:
    """Some texts by file name as one ZIP file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return data.getvalue()


def _focus(analysis: Analysis, marked: Marked | None) -> focus.FocusScores | None:
    """The scores where there are any: nothing marked, or nothing in the frame, is no error here."""
    try:
        return focus.score(analysis, marked.mask) if marked else None
    except InvalidInput:
        return None
