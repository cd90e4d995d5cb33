"""What is taken along: the page, the numbers, the charts."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import xml.etree.ElementTree as ET
from datetime import datetime, timezone

import plotly.graph_objects as go
import pytest

from nls_core import __version__
from nls_core.analysis.results import Analysis
from nls_core.settings import Settings
from nls_core.views import analysis_charts, report, svg
from nls_core.views.panels import View
from nls_core.views.report import Origin

SVG = "{http://www.w3.org/2000/svg}"


def test_the_report_is_self_contained_and_says_where_it_is_from(analysis: Analysis) -> None:
    css = (Settings().static_dir / "style.css").read_text(encoding="utf-8")
    made = datetime(2026, 2, 3, 4, 5, tzinfo=timezone.utc)
    page = report.page(analysis, Origin("a <b>.png", made), css=css)
    assert not re.findall(r"<script|<link|<iframe", page)
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]+"', page)
    assert f"a &lt;b&gt;.png, 2026-02-03 04:05 UTC, NLS Lab {__version__}" in page
    assert 'class="nls-original" src="data:image/jpeg;base64,' in page
    assert "nls compare picture.png" in page  # a name that is safe in a shell
    assert "--epsilons 1,2,4,8" in page
    assert str(analysis.sha256) in page
    assert all(m.manifest.sha256[:12] in page for m in analysis.models)
    assert len(page) < 1_000_000


def test_the_csv_holds_every_number_exactly(analysis: Analysis) -> None:
    rows = list(csv.DictReader(io.StringIO(report.table(analysis))))
    assert len(rows) == sum(1 + len(m.sweep) for m in analysis.models)
    told = iter(rows)
    for model in analysis.models:
        clean = next(told)
        assert (clean["model"], clean["epsilon_255"], clean["success"]) == (
            model.manifest.id,
            "0",
            "",
        )
        assert float(clean["confidence"]) == model.prediction.confidence
        for point in model.sweep:
            row = next(told)
            assert float(row["confidence"]) == point.prediction.confidence
            assert float(row["calibrated_confidence"]) == point.prediction.calibrated_confidence
            assert float(row["l2"]) == point.l2
            assert row["success"] == str(point.success).lower()


def test_each_chart_is_an_svg_of_its_figure(analysis: Analysis) -> None:
    found = report.charts(analysis, View(1))
    assert sorted(found) == [
        "confidence.svg",
        "reliability-tiny-ce-zero.svg",
        "reliability-tiny-nls-partial.svg",
        "steps.svg",
    ]
    assert "steps.svg" not in report.charts(analysis, View(None))
    assert "steps of pgd-linf at ε = 2/255" in found["steps.svg"]
    sweep = ET.fromstring(found["confidence.svg"])
    marks = len(sweep.findall(f"{SVG}circle")) + found["confidence.svg"].count("m0 -8l-8 8")
    assert marks == sum(1 + len(m.sweep) for m in analysis.models)
    assert "cross-entropy" in "".join(sweep.itertext())
    full = sum(n > 0 for n in analysis.models[0].manifest.reliability["plain"]["counts"])
    bars = ET.fromstring(found["reliability-tiny-ce-zero.svg"]).findall(f"{SVG}rect")
    assert len(bars) == 2 * full


def test_a_long_legend_has_several_rows(analysis: Analysis) -> None:
    figure = analysis_charts.confidence_sweep(analysis)
    one, heights = svg.draw(figure), []
    for name in ("a", "a name that takes more than half of the width of a chart"):
        for line in figure.data:
            line.name = name
        chart = ET.fromstring(svg.draw(figure))
        heights.append(float(chart.attrib["viewBox"].split()[3]))
        ends = [
            float(text.attrib["x"]) + 7 * len(name)
            for text in chart.findall(f"{SVG}text")
            if text.text == name
        ]
        assert len(ends) == 2
        assert max(ends) < 640
    assert heights[1] == heights[0] + svg.ROW
    assert f'viewBox="0 0 640 {heights[0]:g}"' in one


def test_a_bar_is_as_high_as_its_value() -> None:
    figure = go.Figure()
    figure.add_bar(x=[0.25, 0.75], y=[0.5, 1.0], width=0.4, marker_color=["#111111", "#222222"])
    figure.update_layout(height=400, yaxis_range=[0, 1], xaxis_range=[0, 1])
    low, high = ET.fromstring(svg.draw(figure)).findall(f"{SVG}rect")
    assert float(high.attrib["height"]) == 2 * float(low.attrib["height"])
    assert float(high.attrib["height"]) == 400 - svg.TOP - svg.BOTTOM
    assert float(high.attrib["y"]) == svg.TOP


def test_names_are_escaped_and_the_unknown_is_refused(analysis: Analysis) -> None:
    bad = dataclasses.replace(analysis.models[0].manifest, id='tiny/<a>"-zero')
    model = dataclasses.replace(analysis.models[0], manifest=bad)
    one = dataclasses.replace(analysis, models=(model,))
    chart = svg.draw(analysis_charts.confidence_sweep(one))
    assert '<a>"-zero' in "".join(ET.fromstring(chart).itertext())
    with pytest.raises(ValueError, match="heatmap"):
        svg.draw(go.Figure(go.Heatmap(z=[[1]], x=[0], y=[0])))
