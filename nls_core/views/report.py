"""An analysis to take along: a self-contained HTML page, its numbers as CSV, its charts as SVG."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from html import escape

from nls_core import __version__
from nls_core.analysis.results import Analysis, Prediction
from nls_core.types import Manifest
from nls_core.views import (
    analysis_charts,
    glossary,
    html,
    panels,
    raster,
    sentences,
    snippets,
    svg,
)
from nls_core.views.panels import View

COLUMNS = (
    "model",
    "epsilon_255",
    "label",
    "confidence",
    "calibrated_confidence",
    "linf_255",
    "l2",
    "success",
)


@dataclass(frozen=True)
class Origin:
    """Of which file, named as whoever sent it did, and when a report is."""

    file: str
    made: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


def page(
    analysis: Analysis, origin: Origin, *, css: str, view: View | None = None, more: str = ""
) -> str:
    """A self-contained HTML page, no file and no network beside it; `more` is HTML to put in."""
    view = view or View(len(analysis.request.epsilons) - 1)
    plots = "".join(
        f'<div class="nls-plot">{chart}</div>' for chart in charts(analysis, view).values()
    )
    facts = "".join(
        f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in _facts(analysis, view).items()
    )
    made = origin.made.strftime("%Y-%m-%d %H:%M UTC")
    body = (
        "<header><h1>NLS Lab report</h1>"
        f"<p>{escape(origin.file)}, {made}, NLS Lab {__version__}</p>{_picture(analysis)}</header>"
        f"<main>{panels.result(analysis, view)}{more}{plots}{panels.numbers(analysis)}"
        f"<dl>{facts}<dt>command</dt><dd><pre>{escape(_command(analysis, origin))}</pre></dd></dl>"
        f"</main>{glossary.definitions(linked=False)}"
    )
    return html.document(f"NLS Lab report: {origin.file}", css, body)


def _picture(analysis: Analysis) -> str:
    size = analysis.geometry
    return (
        f'<img class="nls-original" src="{raster.jpeg_data_uri(analysis.picture)}" '
        f'alt="the picture, {size.width} × {size.height} pixels">'
    )


def _facts(analysis: Analysis, view: View) -> Mapping[str, str]:
    request = analysis.request
    return {
        "attack": f"{sentences.attack_text(analysis)}, {request.steps} steps",
        "map": f"{request.cam}, scale: {panels.SCALES[view.scale]}",
        "seed": str(request.seed),
        "weights": "; ".join(f"{m.manifest.id} {m.manifest.sha256[:12]}" for m in analysis.models),
        "picture": f"sha256 {analysis.sha256}" if analysis.sha256 else "no file",
    }


def _command(analysis: Analysis, origin: Origin) -> str:
    """What makes the same report on the command line."""
    classes = analysis.models[0].manifest.classes
    file = snippets.file_name(origin.file)
    told = snippets.Told(analysis.request, file, classes, address="")
    return snippets.command(told, kind="--output report.html")


def charts(analysis: Analysis, view: View) -> dict[str, str]:
    """File name -> SVG of each chart of an analysis."""
    figures = {"confidence.svg": analysis_charts.confidence_sweep(analysis, view.index)}
    if any(analysis.point(model, view.index).steps is not None for model in analysis.models):
        figures["steps.svg"] = analysis_charts.attack_steps(analysis, view.index)
    for model in analysis.models:
        manifest = model.manifest
        if "plain" in manifest.reliability:
            name = f"reliability-{manifest.id.replace('/', '-')}.svg"
            figures[name] = analysis_charts.reliability_diagram(
                manifest.reliability["plain"], manifest, confidence=model.prediction.confidence
            )
    return {name: svg.draw(figure) for name, figure in figures.items()}


def table(analysis: Analysis) -> str:
    """The numbers of an analysis as CSV: every ε of every model, the clean picture as ε = 0."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *_rows(analysis)])
    return text.getvalue()


def _rows(analysis: Analysis) -> Iterator[list[object]]:
    for model in analysis.models:
        clean: tuple[object, ...] = (0, 0, "")
        yield [model.manifest.id, 0, *_said(model.prediction, model.manifest), *clean]
        for p in model.sweep:
            told = _said(p.prediction, model.manifest)
            norms = (p.linf * 255, p.l2, str(p.success).lower())
            yield [model.manifest.id, round(p.epsilon * 255, 9), *told, *norms]


def _said(prediction: Prediction, manifest: Manifest) -> tuple[str, float, float]:
    label = manifest.classes[prediction.index]
    return label, prediction.confidence, prediction.calibrated_confidence
