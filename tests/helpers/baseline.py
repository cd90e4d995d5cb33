"""A baselines.json of networks that never were, made of the shipped report's own cells."""

from __future__ import annotations

import copy
from typing import Any

from nls_core.evidence import report
from nls_core.evidence.baseline_claims import JUDGED, RIVALS
from nls_core.evidence.baselines import PRODUCTS, VS_RIVAL
from nls_core.settings import Settings


def gap(low: float, high: float) -> dict[str, Any]:
    """A difference with a 95 % interval, and a 90 % one within it."""
    middle, half = (low + high) / 2, 0.4 * (high - low)
    ends = {"low_90": middle - half, "high_90": middle + half}
    p = 0.001 if low > 0 or high < 0 else 0.5
    return {"difference": middle, "low": low, "high": high, "p": p, "pairs": 3} | ends


def record(lead: tuple[float, float] = (0.01, 0.02)) -> dict[str, Any]:
    """Baselines with more of every figure than `nls-zero` by `lead`; attacked likewise."""
    cells = report.read("fashion", Settings().models_dir)["cells"]
    made = {name: copy.deepcopy(cells[name]) for name in ("ce-zero", "nls-zero")}
    for cell in RIVALS:
        made[cell] = copy.deepcopy(cells["ls-zero"]) | {"robust": {}}
        for name in JUDGED:
            made[cell]["metrics"][name][VS_RIVAL] = gap(*lead)
    for cell, like in (("ce_matched-zero", "ce-zero"), ("nls_matched-zero", "nls-zero")):
        made[cell] = copy.deepcopy(cells[like])
    settings = {
        "ls_tuned-zero": {"loss": "ls", "smoothing": 0.03, "lr": 0.4, "weight_decay": 1e-6},
        "focal_tuned-zero": {"loss": "focal", "gamma": 1.0, "lr": 0.05, "weight_decay": 1e-6},
    }
    return {
        "schema": 1,
        "command": "nls train --grid fashion --baselines",
        "settings": settings,
        "cells": made,
        "under_attack": {
            name: {key: gap(*lead) for key in ("0.5", "1", "2", "4", "8")} for name in PRODUCTS
        },
    }
