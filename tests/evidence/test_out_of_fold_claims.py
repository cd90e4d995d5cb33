"""Claims out of fold are judged by the runs of the cells that they are about."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from nls_core.evidence import out_of_fold_claims, verdicts
from nls_core.evidence.verdicts import NOT, PARTLY, UNDECIDED, Evidence
from nls_core.settings import Settings

ALONE = "no new trainings"


@pytest.fixture(scope="module")
def photos() -> Evidence:
    return verdicts.read("photos", Settings().models_dir)


def with_seeds(evidence: Evidence, seeds: dict[str, list[int]]) -> Evidence:
    """The evidence of cells that have one run, but for those of `seeds`."""
    record = copy.deepcopy(dict(evidence.record))
    for cell, entry in record["cells"].items():
        entry["seeds"] = seeds.get(cell, [0])
    return replace(evidence, record=record)


def test_a_claim_is_weaker_until_all_its_cells_have_two_runs(photos: Evidence) -> None:
    both = {"ce-zero": [0, 1], "nls-zero": [0, 1]}
    for seeds in ({}, {"ce-zero": [0, 1]}, {"nls-zero": [0, 1]}):
        found = out_of_fold_claims.generalization(with_seeds(photos, seeds))
        assert ALONE in found.text
        assert found.verdict in (PARTLY, UNDECIDED)
    found = out_of_fold_claims.generalization(with_seeds(photos, both))
    assert ALONE not in found.text
    assert found.verdict == NOT  # nls is less accurate on photos
    partial = out_of_fold_claims.calibration(with_seeds(photos, both))
    assert "One run of nls, partial: the intervals cover new objects, no new" in partial.text
    assert partial.verdict == UNDECIDED


def test_conditions_are_a_sentence() -> None:
    assert verdicts.conditions({"an ECE of at most half": False}) == (
        "Conditions: an ECE of at most half: not met."
    )
    assert verdicts.conditions({}) == ""
