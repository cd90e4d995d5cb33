"""Estimates of what a request computes, and what a refusal advises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nls_core.analysis import cost
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.cost import Speed
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.errors import TooCostly
from nls_core.settings import Settings
from tests.conftest import TINY, picture_bytes

LARGE = {"a": Speed(0.01, 1280), "b": Speed(0.01, 1280)}
ORDINARY = AnalysisRequest(models=("a", "b"), epsilons=tuple(n / 255 for n in range(1, 17)))


def test_every_method_has_a_cost() -> None:
    assert all(attack.cost >= 0 for attack in ATTACKS.values())
    assert {name for name, cam in CAMS.items() if cam.passes(7) == 7} == {"scorecam"}


def test_a_cost_by_hand() -> None:
    request = AnalysisRequest(models=("a",), epsilons=(0.1, 0.2), steps=5, cam="scorecam")
    passes = 4 + 2 * (1 + 3 * 5) + 3 * 1280
    assert cost.estimate(request, LARGE) == pytest.approx(0.01 * passes)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("cam", CAMS)
def test_more_of_anything_costs_no_less(attack: str, cam: str) -> None:
    request = replace(ORDINARY, attack=attack, cam=cam)
    whole = cost.estimate(request, LARGE)
    for less in ({"models": ("a",)}, {"steps": 1}, {"epsilons": (0.1,)}, {"cam": "gradcam"}):
        assert cost.estimate(replace(request, **less), LARGE) <= whole


def test_a_refusal_says_what_helps_and_the_most_helpful_first() -> None:
    request = replace(ORDINARY, cam="scorecam")
    cost.check(request, LARGE, 1000)
    with pytest.raises(TooCostly) as refused:
        cost.check(request, LARGE, 100)
    text = str(refused.value)
    assert "at most 100 s" in text
    assert text.index("gradcam instead of scorecam") < text.index("one strength")
    assert "one attack step" not in text  # that would hardly help


def test_autoattack_on_a_large_picture_is_refused_and_a_cheaper_attack_named() -> None:
    request = replace(ORDINARY, attack="autoattack")
    with pytest.raises(TooCostly, match="the attack pgd-linf instead of autoattack would take"):
        cost.check(request, LARGE, 120)
    small = {name: replace(speed, seconds=0.0005) for name, speed in LARGE.items()}
    cost.check(request, small, 120)


def test_the_analyzer_refuses_before_it_computes(models_dir: Path) -> None:
    strict = Analyzer(Settings(models_dir=models_dir, device="cpu", max_seconds=1e-6))
    request = AnalysisRequest(models=TINY, steps=100)
    for _ in range(2):  # before and after the models are loaded
        with pytest.raises(TooCostly, match="reduce it"):
            strict.analyze(picture_bytes(), request)
    assert strict.in_use == 0
