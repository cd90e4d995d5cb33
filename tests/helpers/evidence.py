"""Small evidence for tests: few queries, few images, and a report of runs that never trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from nls_core.evidence import parts, robustness
from nls_core.evidence.robustness import CASES, Case


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack few images with few steps."""
    monkeypatch.setitem(CASES, "square", Case("square", {"queries": 5}))
    monkeypatch.setitem(CASES, "apgd-dlr", Case("apgd-dlr", {"steps": 3}))
    monkeypatch.setitem(CASES, "pgd", Case("pgd-linf", {"steps": 3}))
    monkeypatch.setattr(robustness, "IMAGES", 6)
    monkeypatch.setattr(parts, "MAP_IMAGES", 4)


def count(path: Path) -> int:
    """How many parts are kept in a folder."""
    return len(list(path.rglob("*.json")))
