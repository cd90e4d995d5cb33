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


def test_the_steps_are_the_clean_label_and_where_the_attack_ends(analysis: Analysis) -> None:
    figure = analysis_charts.attack_steps(analysis, 3)
    assert figure.layout.xaxis.title.text == "steps of pgd-linf at ε = 8/255"
    assert not figure.layout.annotations
    lines = {line.name: line for line in figure.data}
    for role, model in zip(("baseline", "candidate"), analysis.models, strict=True):
        point, clean = model.sweep[3], model.prediction.index
        assert point.steps is not None
        solid = lines.pop(f"{role}: {model.manifest.classes[clean]}")
        assert list(solid.x) == [0, 1, 2, 3, 4, 5]
        assert list(solid.y) == pytest.approx(point.steps[:, clean])
        lost = ["x" if row.argmax() != clean else "circle" for row in point.steps]
        assert list(solid.marker.symbol) == lost
        after = point.prediction.index
        if after != clean:
            dotted = lines.pop(f"{role}: {model.manifest.classes[after]}")
            assert dotted.y[-1] == pytest.approx(point.prediction.confidence)
            assert dotted.line.dash == "dot"
    assert not lines


@pytest.mark.parametrize(
    ("attack", "shown", "pending", "text"),
    [
        ("fgsm", 1, False, "fgsm has no steps to show; pgd-linf and pgd-l2 have."),
        ("pgd-linf", None, True, "The attack is being computed …"),
        ("pgd-linf", None, False, "Move ε above 0."),
        ("pgd-linf", 1, False, "The steps were not kept."),
    ],
)
def test_where_there_are_no_steps_the_chart_says_why(
    analysis: Analysis, attack: str, shown: int | None, pending: bool, text: str
) -> None:
    without = tuple(
        dataclasses.replace(
            model, sweep=tuple(dataclasses.replace(point, steps=None) for point in model.sweep)
        )
        for model in analysis.models
    )
    given = dataclasses.replace(of_attack(analysis, attack), models=without)
    figure = analysis_charts.attack_steps(given, shown, pending=pending)
    assert not figure.data
    assert [each.text for each in figure.layout.annotations] == [text]
