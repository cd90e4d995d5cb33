"""Small evidence for tests: few queries, few images, and a report of runs that never trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from nls_core.evidence import collect, robustness
from nls_core.evidence.robustness import CASES


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack few images with few steps."""
    monkeypatch.setitem(CASES, "square", robustness._plain("square", queries=5))
    monkeypatch.setitem(CASES, "apgd-dlr", robustness._plain("apgd-dlr", steps=3))
    monkeypatch.setitem(CASES, "pgd", robustness._plain("pgd-linf", steps=3))
    monkeypatch.setattr(robustness, "IMAGES", 6)
    monkeypatch.setattr(collect, "MAP_IMAGES", 4)


def count(path: Path) -> int:
    """How many parts are kept in a folder."""
    return len(list(path.rglob("*.json")))
