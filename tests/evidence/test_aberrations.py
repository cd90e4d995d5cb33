"""Figures of networks that learnt from aberrant data, and the claim about them."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nls_core import files
from nls_core.errors import CheckpointError
from nls_core.evidence import aberration_claim, aberrations, findings, verdicts
from nls_core.evidence.aberrations import Answers
from nls_core.evidence.verdicts import HOLDS, NOT, UNDECIDED, Evidence
from nls_core.metrics import calibration, intervals, resampling
from nls_core.settings import Settings
from tests.helpers import aberrant


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return aberrant.record()


@pytest.fixture(scope="module")
def evidence(record: dict[str, Any]) -> Evidence:
    return replace(verdicts.read("fashion", Settings().models_dir), aberrations=record)


def test_figures_are_the_metrics_with_intervals_in_pairs(record: dict[str, Any]) -> None:
    cells = record["conditions"]["symmetric 20 %"]["cells"]
    values = {
        cell: {s: aberrant.logits(lean, 10 + s).softmax(1) for s in range(3)}
        for cell, lean in aberrant.LEAN.items()
    }
    for name in aberrations.METRICS:
        each = {
            cell: {s: resampling.METRICS[name](p, aberrant.labels()) for s, p in runs.items()}
            for cell, runs in values.items()
        }
        found = cells["nls-zero"]["metrics"][name]
        over_seeds = intervals.difference(each["nls-zero"], each["ce-zero"])
        assert over_seeds is not None
        close = pytest.approx(sum(each["nls-zero"].values()) / 3, abs=1e-4)  # kept in float16
        assert found["mean"] == close
        assert found["n"] == 3
        assert found["low"] < found["mean"] < found["high"]
        gap = found["vs_ce_zero"]
        assert gap["difference"] == pytest.approx(over_seeds.mean, abs=1e-3)
        assert gap["method"] == "t over seeds and images"
        assert "vs_ce_zero" not in cells["ce-zero"]["metrics"][name]
    assert cells["ce-zero"]["seeds"] == [0, 1, 2]


@given(seed=st.integers(0, 2**16), images=st.integers(1, 60), scale=st.floats(0.0, 30.0))
def test_answers_have_the_metrics_of_their_logits(seed: int, images: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes = 2 + seed % 6
    z = (scale * torch.randn(images, classes, generator=generator)).half().float()
    labels = torch.randint(classes, (images,), generator=generator)
    probs, found = z.softmax(1), Answers.of(z, labels).probabilities()
    metrics = {name: resampling.METRICS[name] for name in aberrations.METRICS}
    assert metrics["accuracy"](*found) == metrics["accuracy"](probs, labels)
    nll = metrics["nll"](probs, labels)
    assert metrics["nll"](*found) == pytest.approx(nll, rel=2e-3, abs=2e-3)
    places = calibration.BINS * probs.amax(1)
    if bool(((places - places.round()).abs() > 0.05).all()):  # no image in the next bin by rounding
        ece = metrics["ece"](probs, labels)
        assert metrics["ece"](*found) == pytest.approx(ece, abs=2e-3)
    assert (found[0].argmax(1) == found[1]).equal(probs.argmax(1) == labels)
    assert found[0].amax(1).numpy() == pytest.approx(probs.amax(1).numpy(), rel=2e-3)


def test_answers_are_kept_as_they_are(tmp_path: Path) -> None:
    made = Answers.of(aberrant.logits(2.0, 0), aberrant.labels())
    path = tmp_path / "runs" / "seed0.npz"
    aberrations.write_answers(path, made)
    found = aberrations.read_answers(path, 400)
    for name in ("named", "label", "right"):
        assert getattr(found, name).equal(getattr(made, name))
    assert path.stat().st_size < 8 * 400  # float16 logits would be 20 bytes an image
    for other in (399, 401, 4000):
        with pytest.raises(CheckpointError, match=r"seed0\.npz is of other images: expected"):
            aberrations.read_answers(path, other)
    files.write_arrays(path, named=made.named.numpy())
    with pytest.raises(CheckpointError, match=r"seed0\.npz is damaged"):
        aberrations.read_answers(path, 400)


def test_a_level_is_the_share_in_per_cent_or_the_power_of_ten() -> None:
    levels = {name: aberrations.level(c) for name, c in aberrant.CONDITIONS.items()}
    assert list(levels.values()) == [0.0, 20.0, 40.0, 1.0]


def test_the_claim_is_judged_in_every_condition_but_the_clean_one(evidence: Evidence) -> None:
    found = aberration_claim.aberrations(evidence)
    assert found.verdict == HOLDS  # the logits of nls stand out more
    names = [each.name for each in aberration_claim.endpoints(evidence.aberrations)]
    assert names == ["symmetric 20 %", "symmetric 40 %", "long tail 10"]
    assert len(found.table) == 1 + 2 * 4
    assert len({len(row) for row in found.table}) == 1
    assert "symmetric 40 %: +" in found.text
    clean = evidence.aberrations["conditions"]["clean"]["cells"]
    ece = [f"{100 * clean[c]['metrics']['ece']['mean']:.2f}" for c in ("nls-zero", "ce-zero")]
    assert f"clean: {ece[0]} ± " in found.text
    assert f" and {ece[1]} ± " in found.text
    assert "On clean data, trained as long, it is +" in found.text
    swapped = copy.deepcopy(dict(evidence.aberrations))
    for condition in swapped["conditions"].values():
        gap = condition["cells"]["nls-zero"]["metrics"]["accuracy"]["vs_ce_zero"]
        ends = {"low": -gap["high"], "high": -gap["low"]}
        ends |= {"low_90": -gap["high_90"], "high_90": -gap["low_90"]}
        gap |= ends | {"difference": -gap["difference"]}
    assert aberration_claim.aberrations(replace(evidence, aberrations=swapped)).verdict == NOT


def test_a_condition_that_is_missing_leaves_the_claim_open(evidence: Evidence) -> None:
    part = aberrant.record(("clean",))
    assert aberration_claim.aberrations(replace(evidence, aberrations=part)).verdict == UNDECIDED
    most = aberrant.record(("clean", "symmetric 20 %", "long tail 10"))
    found = aberration_claim.aberrations(replace(evidence, aberrations=most))
    assert found.verdict != HOLDS
    assert "symmetric 40 %: not measured" in found.text


def test_the_finding_appears_only_where_there_are_runs(evidence: Evidence) -> None:
    with_runs = findings.document(evidence)
    without = findings.document(replace(evidence, aberrations={}))
    assert "## aberrations" in with_runs
    assert "aberrant data" not in without
    assert [each.key for each in findings.all_of(evidence)][:-1] == list(findings.FINDINGS)


def test_a_family_without_runs_has_an_empty_record(tmp_path: Path) -> None:
    assert aberrations.read("none", tmp_path) == {}


@pytest.mark.parametrize(
    "change",
    [{"conditions": {"clean": {}}}, {"conditions": []}, {"groups": {"a": ["none"]}},
     {"groups": None}],
)  # fmt: skip
def test_a_damaged_record_is_named(
    change: dict[str, Any], record: dict[str, Any], tmp_path: Path
) -> None:
    files.write_json(tmp_path / "tiny" / aberrations.FILE, record)
    assert aberrations.read("tiny", tmp_path) == record
    files.write_json(tmp_path / "tiny" / aberrations.FILE, record | change)
    with pytest.raises(CheckpointError, match=r"aberrations.json is damaged: expected c"):
        aberrations.read("tiny", tmp_path)
