"""Small evidence for tests: few queries, few images, and a report of runs that never trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from nls_core.attacks import ATTACKS
from nls_core.evidence import collect, robustness
from nls_core.evidence.robustness import CASES


def case(name: str, **options: int) -> robustness.Case:
    """An attack with options of its own, as a case of the evidence."""
    return lambda model, x, y, epsilon: ATTACKS[name](model, x, y, epsilon=epsilon, **options)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack few images with few steps."""
    monkeypatch.setitem(CASES, "square", case("square", queries=5))
    monkeypatch.setitem(CASES, "apgd-dlr", case("apgd-dlr", steps=3))
    monkeypatch.setitem(CASES, "pgd", case("pgd-linf", steps=3))
    monkeypatch.setattr(robustness, "IMAGES", 6)
    monkeypatch.setattr(collect, "MAP_IMAGES", 4)


def count(path: Path) -> int:
    """How many parts are kept in a folder."""
    return len(list(path.rglob("*.json")))
