"""The claim about maps: judged net of controls, which are rows of its table."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from nls_core.evidence import map_claims, verdicts
from nls_core.evidence.map_claims import COLUMNS, ENDPOINTS
from nls_core.evidence.map_quality import ALL
from nls_core.evidence.verdicts import HOLDS, NOT, UNDECIDED, Evidence
from nls_core.settings import Settings
from tests.helpers.baseline import gap


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return verdicts.read("fashion", Settings().models_dir)


def with_gaps(evidence: Evidence, low: float, high: float) -> Evidence:
    """The evidence with every endpoint's difference to the good side, in that interval."""
    record: dict[str, Any] = copy.deepcopy(dict(evidence.record))
    for name, (_, side) in ENDPOINTS.items():
        ends = gap(low, high) if side > 0 else gap(-high, -low)
        record["cells"]["nls-zero"]["metrics"][name]["vs_ce_zero"] = ends
    return replace(evidence, record=record)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((0.03, 0.05), HOLDS), ((-0.05, -0.03), NOT), ((-0.01, 0.01), NOT), ((-0.1, 0.1), UNDECIDED)],
)
def test_the_claim_is_judged_by_all_four_endpoints(
    evidence: Evidence, interval: tuple[float, float], verdict: str
) -> None:
    found = map_claims.maps(with_gaps(evidence, *interval))
    assert found.verdict == verdict
    assert all(f"{shown}: " in found.text for shown, _ in ENDPOINTS.values())


def test_the_endpoints_were_measured_over_the_seeds(evidence: Evidence) -> None:
    for name in ENDPOINTS:
        found = evidence.cells["nls-zero"]["metrics"][name]["vs_ce_zero"]
        assert found["pairs"] >= 3
        assert found["low"] < found["high"]
    assert {name.removeprefix("map_") for name in COLUMNS} <= set(ALL)


def test_controls_are_rows_of_the_table(evidence: Evidence) -> None:
    head, *rows = map_claims.table(evidence.cells)
    named = {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows}
    assert len(head) == len(COLUMNS) + 1
    assert list(named)[-3:] == ["random maps, on ce, zero", "random maps, on nls, zero",
                                "uniform maps"]  # fmt: skip
    uniform = named["uniform maps"]
    assert (uniform["map_entropy"], uniform["map_cross_cosine"]) == ("1.000", "1.000")
    assert (uniform["map_drift_cosine"], uniform["map_drift_correlation"]) == ("1.000", "0.000")
    metrics = evidence.cells["ce-zero"]["metrics"]
    drawn = named["random maps, on ce, zero"]
    assert drawn["map_insertion_auc"].startswith(
        f"{metrics['map_insertion_auc_random']['mean']:.3f}"
    )
    assert abs(float(drawn["map_cross_correlation"])) < 0.05  # two draws have nothing in common
    own = float(named["ce, zero"]["map_insertion_auc_net"].split(" ")[0])
    means = (metrics[f"map_insertion_auc{end}"]["mean"] for end in ("", "_random"))
    whole, random = means
    # the area itself is of more seeds than the difference
    assert own == pytest.approx(whole - random, abs=0.05)


def test_a_report_of_before_has_no_controls(evidence: Evidence) -> None:
    cells = copy.deepcopy(dict(evidence.cells))
    for cell in cells.values():
        metrics = cell["metrics"]
        for name in [n for n in metrics if n.endswith(("_net", "_random", "correlation"))]:
            del metrics[name]
    record = {**evidence.record, "cells": cells}
    assert map_claims.maps(replace(evidence, record=record)).verdict == UNDECIDED
    assert [row[0] for row in map_claims.table(cells)][-1] == "focal, zero"
