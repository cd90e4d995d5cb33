"""Charts of one analysis: the unit of ε follows the attack's norm."""

from __future__ import annotations

import dataclasses

import pytest

from nls_core.analysis.results import Analysis
from nls_core.views import analysis_charts


def of_attack(analysis: Analysis, attack: str) -> Analysis:
    request = dataclasses.replace(analysis.request, attack=attack)
    return dataclasses.replace(analysis, request=request)


@pytest.mark.parametrize(
    ("attack", "scale", "title", "text"),
    [("pgd-linf", 255, "ε in 1/255", "4/255"), ("pgd-l2", 1, "ε (L2 norm)", "0.0157 (L2)")],
)
def test_the_axis_counts_in_the_unit_of_the_norm(
    analysis: Analysis, attack: str, scale: float, title: str, text: str
) -> None:
    figure = analysis_charts.confidence_sweep(of_attack(analysis, attack), 2)
    assert figure.layout.xaxis.title.text == title
    for line in figure.data:
        wanted = [0.0, *(scale * e for e in analysis.request.epsilons)]
        assert list(line.x) == pytest.approx(wanted)
        assert line.customdata[3][1] == text
        assert "/255" not in line.hovertemplate
    assert figure.layout.shapes[0].x0 == pytest.approx(scale * analysis.request.epsilons[2])
