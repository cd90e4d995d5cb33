"""Masked or robust: verdicts, and what each model says of the pictures they rest on."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nls_core import zoo
from nls_core.analysis import masking
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.masking import Comparison, Tried
from nls_core.analysis.results import Analysis
from nls_core.errors import InvalidInput, Overdue, TooCostly
from nls_core.settings import Settings
from nls_core.views import masking_html


@pytest.mark.parametrize(
    ("tried", "verdict"),
    [
        (Tried(0, 1, 0, 0), "changed"),
        (Tried(0, 1, 1, 1), "changed"),
        (Tried(0, 0, 1, 0), "masked"),
        (Tried(0, 0, 0, 2), "masked"),
        (Tried(0, 0, 0, 0), "unchanged"),
    ],
)
def test_only_what_withstood_its_own_attack_can_be_masked(tried: Tried, verdict: str) -> None:
    assert tried.verdict == verdict


def test_the_answers_are_those_of_the_pictures(
    analyzer: Analyzer, analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "QUERIES", 20)
    done: list[float] = []
    found = masking.compare(analyzer, analysis, 2, lambda share, what: done.append(share))
    assert (found.epsilon, found.attack) == (4 / 255, "pgd-linf")
    assert done == sorted(done)
    for i, tried in enumerate(found.tried):
        mine, other = analysis.models[i], analysis.models[1 - i]
        model, _ = zoo.load(mine.manifest.id, analyzer.settings.models_dir)
        pictures = [mine.sweep[2].adversarial, other.sweep[2].adversarial]
        said = model(torch.stack([torch.from_numpy(p) for p in pictures])).argmax(1).tolist()
        assert [tried.own, tried.transfer] == said
        assert tried.clean == mine.prediction.index


def test_of_more_models_the_first_two_are_compared(analysis: Analysis) -> None:
    many = dataclasses.replace(analysis, models=(*analysis.models, analysis.models[0]))
    assert masking.pair_of(many, 0) == analysis.models


def test_what_cannot_be_compared_is_refused(analyzer: Analyzer, analysis: Analysis) -> None:
    alone = dataclasses.replace(analysis, models=analysis.models[:1])
    l2 = dataclasses.replace(
        analysis, request=dataclasses.replace(analysis.request, attack="pgd-l2")
    )
    for given, index, words in (
        (alone, 0, "two different models"),
        (analysis, None, "above 0"),
        (l2, 0, "L∞"),
    ):
        with pytest.raises(InvalidInput, match=words):
            masking.compare(analyzer, given, index)


def test_it_costs_and_stops_as_an_analysis(analyzer: Analyzer, analysis: Analysis) -> None:
    strict = Analyzer(Settings(models_dir=analyzer.settings.models_dir, max_seconds=1e-6))
    with pytest.raises((TooCostly, Overdue)):
        masking.compare(strict, analysis, 0)


def test_verdicts_say_what_they_rest_on(analysis: Analysis) -> None:
    first, second = analysis.models

    def html(*tried: Tried) -> str:
        pair = (tried[0], tried[1])
        return masking_html.result(Comparison(4 / 255, "pgd-linf", (first, second), pair))

    words = html(Tried(0, 1, 0, 0), Tried(0, 0, 2, 3))
    assert "The baseline is not robust at ε = 4/255" in words
    assert "The candidate may be masked at ε = 4/255" in words
    assert "attacked picture and Square (500 queries, no gradient) do, so" in words
    unchanged = html(Tried(0, 0, 0, 0), Tried(0, 0, 0, 0))
    assert unchanged.count("no sign of masking at ε = 4/255") == 2
    assert "robust at" not in unchanged
    assert "<td>c</td>" in words
