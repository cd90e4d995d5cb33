"""Small evidence for tests: few queries, few images, and a report of runs that never trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from nls_core.evidence import parts, robustness
from nls_core.evidence.robustness import AUTOATTACK, CASES, PRESET, Case
from nls_core.metrics import recalibration


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack few images with few steps, and recalibrate in few."""
    monkeypatch.setitem(CASES, "square", Case("square", {"queries": 5}))
    monkeypatch.setitem(CASES, "apgd-ce", Case("apgd-ce", {"steps": 2}, nested=True))
    monkeypatch.setitem(CASES, "apgd-t", Case("apgd-t", {"steps": 2, "targets": 2}, nested=True))
    monkeypatch.setitem(PRESET, AUTOATTACK, Case("autoattack", {"steps": 1}, nested=True))
    monkeypatch.setitem(CASES, "pgd", Case("pgd-linf", {"steps": 3}))
    monkeypatch.setattr(robustness, "IMAGES", 6)
    monkeypatch.setattr(parts, "MAP_IMAGES", 4)
    monkeypatch.setattr(recalibration, "STEPS", 3)


def count(path: Path) -> int:
    """How many parts are kept in a folder."""
    return len(list(path.rglob("*.json")))
