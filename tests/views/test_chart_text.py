"""The texts of charts hold the charts' own figures."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from nls_core.evidence import over_epochs
from nls_core.evidence.findings import CLAIMS
from nls_core.families import FAMILIES
from nls_core.metrics import calibration
from nls_core.settings import Settings
from nls_core.views import analysis_charts, chart_text, evidence_charts, run_charts, svg
from nls_core.web.pages import family_reports


def figure(*traces: Any, **layout: Any) -> go.Figure:
    return go.Figure(traces, layout=layout)


def test_short_lines_are_told_point_by_point() -> None:
    line = go.Scatter(x=[0, 1], y=[0.5, 0.123], name="ce")
    band = go.Scatter(x=[0, 1], y=[1, 1], fill="toself")
    made = figure(line, band, title="T", xaxis_title="ε", yaxis={"title": "acc", "tickformat": "%"})
    assert chart_text.describe(made) == "T. Across: ε. acc: ce 50 % at 0, 12.3 % at 1."


def test_long_lines_are_told_by_ends_extremes_and_the_first_mark() -> None:
    y = [1, 0.5, 3, 2, 7, 4, 5, 6]
    marks = ["circle"] * 3 + ["x"] * 5
    made = figure(go.Scatter(x=np.arange(8), y=np.array(y), marker={"symbol": marks}))
    assert chart_text.describe(made) == (
        "from 1 at 0 to 6 (a cross) at 7, lowest 0.5 at 1, highest 7 (a cross) at 4, "
        "first so marked 2 (a cross) at 3."
    )


def test_lying_dots_bars_and_lines_across() -> None:
    dot = go.Scatter(x=[0.25], y=["ce"], error_x={"array": [0.01]}, mode="markers")
    made = figure(dot, xaxis={"title": "share", "tickformat": ".0%"})
    assert chart_text.describe(made) == "Across: share. ce 25 % (± 1 points)."
    bar = go.Bar(x=["a"], y=[0.5], error_y={"array": [0.25], "arrayminus": [0.5]})
    made = figure(bar, title="<b>T</b>").add_hline(y=0.125, annotation={"text": "even"})
    assert chart_text.describe(made) == "T. 0.5 (0 to 0.75) at a. even: 0.125."


def test_cells_of_a_heat_map_are_told_row_by_row() -> None:
    made = figure(go.Heatmap(x=["a", "b"], y=["c"], z=[[0.5, None]], text=[["50", ""]]))
    assert chart_text.describe(made) == "c: a 50."


def test_subplots_are_told_under_their_titles() -> None:
    made = make_subplots(2, 1, subplot_titles=["one", "two"])
    for row in (1, 2):
        made.add_scatter(x=[0], y=[row], name="ce", row=row, col=1)
    assert chart_text.describe(made) == "one: ce 1 at 0. two: ce 2 at 0."


def test_a_chart_of_nothing_says_what_stands_on_it() -> None:
    made = figure(title="T").add_annotation(text="not measured yet")
    assert chart_text.describe(made) == "T. not measured yet"


def test_a_reliability_diagram_tells_each_bin_with_its_interval() -> None:
    bins = calibration.Reliability.from_dict(
        {"edges": [0, 0.5, 1], "counts": [0, 4], "confidence": [0, 0.8], "accuracy": [0, 0.75]}
        | {"low": [0, 0.3], "high": [1, 0.95]}
    )
    made = analysis_charts.reliability_bars(bins, "tiny/ce", "#000")
    text = (
        "tiny/ce: 2 bins. Across: confidence. accuracy: 75 % (30 % to 95 %) at 75 %. "
        "images: 100 % at 75 %."
    )
    assert made.layout.meta == {"text": text, "file": "nls-lab-tiny-ce-2-bins"}
    assert f'role="img" aria-label="{text}"' in svg.draw(made)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_chart_of_a_finding_tells_figures_of_every_cell(name: str) -> None:
    data = family_reports.load(name, Settings().models_dir)
    for key in CLAIMS[FAMILIES[name].protocol]:
        made = evidence_charts.OF_FINDING[key](data.evidence, data.runs)
        text = made.layout.meta["text"]
        assert made.layout.title.text.replace("<br>", " ") in text
        named = {t.name for t in made.data if t.name and not t.fill}
        assert not [each for each in named if each not in text]
        assert len(re.findall(r"\d", text)) >= 2 * len(made.data)
        assert re.fullmatch(r"nls-lab-[a-z0-9-]+", made.layout.meta["file"])


def test_courses_over_epochs_are_told_for_each_training() -> None:
    courses = over_epochs.read(Settings().models_dir)
    text = run_charts.over_epochs(courses).layout.meta["text"]
    assert all(f"{course.title}, ECE-15: " in text for course in courses)
    assert text.count("(a star)") == len(courses)
