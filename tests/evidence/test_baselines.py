"""What baselines are held against, and the two claims that rest on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nls_core import files
from nls_core.errors import CheckpointError
from nls_core.evidence import baseline_claims, baselines, findings, stored_runs, verdicts
from nls_core.evidence.baselines import PRODUCTS
from nls_core.evidence.verdicts import HOLDS, NOT, PARTLY, UNDECIDED, Evidence
from nls_core.settings import Settings
from nls_core.views import evidence_charts
from tests.helpers import baseline
from tests.helpers.baseline import gap

MODELS = Settings().models_dir
AHEAD, BEHIND, OPEN, SAME = (0.01, 0.02), (-0.02, -0.01), (-0.02, 0.02), (-1e-6, 1e-6)
BY_CE, BY_NLS, GAIN = PRODUCTS


def evidence(record: dict[str, Any]) -> Evidence:
    return replace(verdicts.read("fashion", MODELS), baselines=record)


@pytest.mark.parametrize(
    ("lead", "verdict"), [(AHEAD, HOLDS), (BEHIND, NOT), (SAME, NOT), (OPEN, UNDECIDED)]
)
def test_nls_is_judged_against_every_baseline(lead: tuple[float, float], verdict: str) -> None:
    record = baseline.record(lead)
    found = baseline_claims.fair(evidence(record))
    assert found.verdict == verdict
    assert len(baseline_claims.endpoints(record)) == 4 * 4
    assert {len(row) for row in found.table} == {11}
    (tuned,) = (row for row in found.table if row[0] == "ls, tuned s, zero")
    assert tuned[1] == "s 0.03, rate 0.4, weight decay 1e-06"
    assert "ece (ls, tuned s, zero)" in found.text


def test_one_lead_is_a_part_and_a_missing_baseline_leaves_it_open() -> None:
    record = baseline.record(OPEN)
    metrics = record["cells"]["ls_tuned-zero"]["metrics"]
    metrics["nll"]["vs_nls_zero"] = gap(0.01, 0.02) | {"p": 1e-6}
    assert baseline_claims.fair(evidence(record)).verdict == PARTLY
    record = baseline.record(AHEAD)
    del record["cells"]["focal_tuned-zero"]
    assert baseline_claims.fair(evidence(record)).verdict == PARTLY


@pytest.mark.parametrize(
    ("by_ce", "by_nls", "gain", "verdict"),
    [
        (AHEAD, AHEAD, OPEN, HOLDS),
        (AHEAD, AHEAD, AHEAD, HOLDS),
        (OPEN, OPEN, AHEAD, NOT),
        (OPEN, OPEN, OPEN, UNDECIDED),
        (AHEAD, OPEN, AHEAD, UNDECIDED),
        (BEHIND, OPEN, AHEAD, UNDECIDED),
    ],
)
def test_loss_or_decay_by_the_rule(by_ce: Any, by_nls: Any, gain: Any, verdict: str) -> None:
    ends = {BY_CE: by_ce, BY_NLS: by_nls, GAIN: gain}
    gaps = {name: {key: gap(*each) for key in ("2", "4")} for name, each in ends.items()}
    assert baseline_claims.loss_or_decay(gaps) == verdict
    for name in PRODUCTS:  # nothing is concluded where a difference is missing
        assert baseline_claims.loss_or_decay({**gaps, name: {}}) == UNDECIDED
        one = {"2": gaps[name]["2"], "4": gaps[name]["4"] | {"low": None}}
        assert baseline_claims.loss_or_decay({**gaps, name: one}) == UNDECIDED


def test_the_findings_appear_only_where_there_are_runs() -> None:
    with_runs = evidence(baseline.record())
    text = findings.document(with_runs)
    assert "## fair-baselines" in text
    assert "## decay" in text
    assert "| nls - ce, product of nls | +1.50 [+1.00, +2.00] |" in text
    without = findings.document(evidence({}))
    assert "## decay" not in without
    keys = [each.key for each in findings.all_of(with_runs)]
    assert keys[len(findings.FINDINGS) :][:2] == ["fair-baselines", "decay"]


def test_charts_show_the_baselines_and_what_is_compared_at_equal_products() -> None:
    with_runs = evidence(baseline.record())
    fair = evidence_charts.OF_FINDING["fair-baselines"](with_runs, {})
    assert "ls, tuned s, zero" in {each.y[0] for each in fair.data}
    lines = evidence_charts.OF_FINDING["decay"](with_runs, {})
    named = {each.name for each in lines.data if each.name}
    assert named == {"ce, zero", "nls, zero", "ce, lr·wd of nls, zero", "nls, lr·wd of ce, zero"}


def test_runs_on_other_images_are_not_compared(tmp_path: Path) -> None:
    own, here = MODELS / "fashion" / "raw", tmp_path / "fashion"
    other = (stored_runs.read_labels(own) + 1) % 10
    files.write_arrays(here / "baselines" / "labels.npz", labels=other.to(torch.uint8).numpy())
    (here / "raw").symlink_to(own)
    with pytest.raises(CheckpointError, match="of different test images; `nls train --grid fash"):
        baselines.record("fashion", tmp_path, {}, ())


def test_a_family_without_baselines_has_an_empty_record(tmp_path: Path) -> None:
    assert baselines.read("none", tmp_path) == {}


@pytest.mark.parametrize(
    "change",
    [{"cells": []}, {"cells": {"ce-zero": {}}}, {"under_attack": None}, {"settings": [1]}],
)
def test_a_damaged_record_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    record = baseline.record()
    files.write_json(tmp_path / "tiny" / baselines.FILE, record)
    assert baselines.read("tiny", tmp_path) == record
    files.write_json(tmp_path / "tiny" / baselines.FILE, record | change)
    with pytest.raises(CheckpointError, match=r"baselines.json is damaged: expected 'cells'"):
        baselines.read("tiny", tmp_path)
