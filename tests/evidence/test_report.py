"""Raw results and their aggregate: read back as written, means and intervals as defined."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import requires, version
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement

from nls_core.errors import CheckpointError
from nls_core.evidence import report, robustness, stored_runs
from nls_core.evidence.collect import Measurements
from nls_core.metrics import calibration, fair_calibration, recalibration
from tests.conftest import tiny_manifest

EPSILONS = len(robustness.EPSILONS)


def make(cell: str, seed: int, sharpness: float, attacked: bool = True) -> Measurements:
    """Evidence from seeded random logits that lean towards the right class."""
    generator = torch.Generator().manual_seed(seed)
    labels = made_labels()
    logits = torch.randn(300, 10, generator=generator)
    logits[torch.arange(300), labels] += 2.0
    logits *= sharpness
    probs = logits.softmax(1)
    found = {
        "metrics": {name: f(probs, labels) for name, f in calibration.METRICS.items()},
        "temperature": 1.5,
        "reliability": {"plain": calibration.reliability(probs, labels).to_dict()},
        "shift": {"blur": [{"severity": 1.0, "accuracy": 0.5 + seed / 10, "ece": 0.1}]},
        "ood": {"digits": 0.8},
        "maps": {"insertion_auc": 0.4 + seed / 100},
    }
    arrays = {"logits": logits.numpy().astype(np.float16)}
    if attacked:
        right = torch.rand(EPSILONS, 40, generator=generator) < 0.5
        shares = right.double().mean(1).tolist()
        arrays |= {f"right {case}": right.numpy() for case in ("pgd", "worst")}
        found |= {
            "robust": {"pgd": shares, "worst": shares},
            "attacked": {"ece": [0.1] * EPSILONS, "mean_confidence": [0.9] * EPSILONS},
            "transfer": {"tiny/other": [0.5 + seed / 10] * EPSILONS},
            "masking": {
                "verdict": "masking" if seed else "no sign",
                "signs": ["black box wins"] if seed else [],
                "zero_gradient": 0.0,
                "far": 0.0,
            },
        }
    manifest = replace(tiny_manifest(f"tiny/{cell}"), seed=seed)
    return Measurements(manifest, found, arrays)


def made_labels() -> torch.Tensor:
    return torch.randint(0, 10, (300,), generator=torch.Generator().manual_seed(99))


CURVE = [{"epoch": str(i), "val_accuracy": str(a)} for i, a in enumerate((0.7, 0.86, 0.89), 1)]
SHARPNESS = {"ce-zero": 3.0, "nls-zero": 1.0}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("report")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(report, "RESAMPLES", 60)
    monkeypatch.setattr(recalibration, "STEPS", 3)
    for cell, sharpness in SHARPNESS.items():
        for seed in range(3):
            made = make(cell, seed, sharpness)
            stored_runs.write(made, made_labels(), CURVE, folder / "tiny" / stored_runs.FOLDER)
    made = make("nls-partial", 1, 1.0, attacked=False)
    stored_runs.write(made, made_labels(), CURVE, folder / "tiny" / stored_runs.FOLDER)
    yield folder
    monkeypatch.undo()


def test_raw_results_are_read_as_they_were_written(models: Path) -> None:
    runs, labels = stored_runs.read(models / "tiny" / stored_runs.FOLDER)
    assert torch.equal(labels, made_labels())
    assert {cell: sorted(seeds) for cell, seeds in runs.items()} == {
        "ce-zero": [0, 1, 2], "nls-zero": [0, 1, 2], "nls-partial": [1]
    }  # fmt: skip
    made, got = make("ce-zero", 2, 3.0), runs["ce-zero"][2]
    np.testing.assert_array_equal(got.logits.numpy(), made.arrays["logits"].astype(np.float32))
    np.testing.assert_array_equal(got.right["pgd"].numpy(), made.arrays["right pgd"])
    assert got.found["metrics"] == made.found["metrics"]
    assert got.found["curve"][1] == {"epoch": 2.0, "val_accuracy": 0.86}


def test_convergence_is_the_first_epoch_at_or_above() -> None:
    got = stored_runs.convergence([0.7, 0.86, 0.84, 0.88])
    assert got == {"curve_area": pytest.approx(0.82), "epochs_to_85": 2.0, "epochs_to_88": 4.0}
    assert stored_runs.convergence([]) == {}


def test_whoever_measures_has_all_whose_versions_are_told() -> None:
    wanted = map(Requirement, requires("nls-lab") or ())
    there = {r.name for r in wanted if not r.marker or r.marker.evaluate({"extra": "train"})}
    assert set(stored_runs.VERSIONS) <= there | {"nls-lab"}


def test_a_cell_is_the_mean_over_its_seeds(models: Path) -> None:
    done: list[int] = []
    record = report.build("tiny", models, done.append)
    assert record == report.read("tiny", models)
    assert sum(done) == 7  # runs
    assert record["schema"] == 2
    assert record["command"] == "nls evaluate --family tiny"
    assert record["data"]["test_images"] == 300
    assert record["data"]["attacked_images"] == 40
    assert record["created_with"]["torch"] == version("torch")
    cells = record["cells"]
    assert set(cells) == {"ce-zero", "nls-zero", "nls-partial", "ce_temperature-zero"}
    for cell, sharpness in SHARPNESS.items():
        eces = [make(cell, seed, sharpness).found["metrics"]["ece"] for seed in range(3)]
        got = cells[cell]["metrics"]["ece"]
        assert got["mean"] == pytest.approx(fmean(eces))
        assert got["sd"] == pytest.approx(stdev(eces))
        assert got["n"] == 3
        assert cells[cell]["seeds"] == [0, 1, 2]
        pgd = [make(cell, seed, sharpness).found["robust"]["pgd"][2] for seed in range(3)]
        assert cells[cell]["robust"]["pgd"]["2"]["mean"] == pytest.approx(fmean(pgd))
    lone = cells["nls-partial"]
    assert lone["metrics"]["ece"]["sd"] is None
    assert "robust" not in lone


def test_differences_to_the_baseline(models: Path) -> None:
    cells = report.read("tiny", models)["cells"]
    assert "vs_ce_zero" not in cells["ce-zero"]["metrics"]["ece"]
    gap = cells["nls-zero"]["metrics"]["ece"]["vs_ce_zero"]
    means = [cells[c]["metrics"]["ece"]["mean"] for c in ("nls-zero", "ce-zero")]
    assert gap["difference"] == pytest.approx(means[0] - means[1])
    assert gap["low"] < gap["difference"] < gap["high"]
    assert (gap["p"] < 0.05) == (gap["low"] * gap["high"] > 0)
    assert gap["low"] < gap["low_90"] < gap["high_90"] < gap["high"]
    third = cells["nls-zero"]["metrics"]["ece"]["vs_third_of_ce_zero"]
    assert third["difference"] == pytest.approx(means[0] - means[1] / 3)
    own = cells["nls-zero"]["metrics"]["ece"]
    assert own["low"] < own["mean"] < own["high"]
    assert gap["method"] == "t over seeds and images"
    shift = cells["nls-zero"]["metrics"]["accuracy_shift"]["vs_ce_zero"]
    assert shift["method"] == "t over seeds"
    assert shift["difference"] == pytest.approx(0)
    robust_gap = cells["nls-zero"]["robust"]["worst"]["2"]["vs_ce_zero"]
    assert robust_gap["low"] <= robust_gap["difference"] <= robust_gap["high"]
    twin = cells["nls-partial"]["metrics"]["accuracy"]["vs_zero_padding"]
    same = make("nls-zero", 1, 1.0).found["metrics"]["accuracy"]
    assert twin["difference"] == pytest.approx(
        cells["nls-partial"]["metrics"]["accuracy"]["mean"] - same
    )
    lone = cells["nls-partial"]["metrics"]["ece"]["vs_ce_zero"]
    assert (lone["pairs"], lone["method"]) == (1, "images of one run")


def test_ce_with_its_temperature_is_a_cell(models: Path) -> None:
    cells = report.read("tiny", models)["cells"]
    got = cells["ce_temperature-zero"]["metrics"]
    wanted = []
    for seed in range(3):
        logits = torch.from_numpy(make("ce-zero", seed, 3.0).arrays["logits"].astype(np.float32))
        wanted.append(calibration.ece((logits / 1.5).softmax(1), made_labels()))
    assert got["ece"]["mean"] == pytest.approx(fmean(wanted), rel=1e-4)
    assert got["accuracy"]["vs_ce_zero"]["difference"] == pytest.approx(0, abs=1e-3)


def test_every_loss_stands_beside_one_temperature(models: Path) -> None:
    cells = report.read("tiny", models)["cells"]
    after = cells["nls-zero"]["metrics"]["ece_with_t"]["mean"]
    assert after != cells["nls-zero"]["metrics"]["ece"]["mean"]
    tempered = cells["ce_temperature-zero"]["metrics"]["ece"]["mean"]
    assert cells["ce-zero"]["metrics"]["ece_with_t"]["mean"] == pytest.approx(tempered)


def test_calibration_stands_beside_what_chance_makes_of_it(models: Path) -> None:
    cells = report.read("tiny", models)["cells"]
    runs, labels = stored_runs.read(models / "tiny" / stored_runs.FOLDER)
    for cell, temperature in (("ce-zero", 1.0), ("nls-zero", 1.0), ("ce_temperature-zero", 1.5)):
        each = [
            fair_calibration.figures((run.logits / temperature).softmax(1), labels)
            for run in runs[cell.replace("_temperature", "")].values()
        ]
        for name in fair_calibration.FAIR:
            found = cells[cell]["metrics"][name]
            assert found["mean"] == pytest.approx(fmean(one[name] for one in each), abs=1e-6)
            assert found["low"] <= found["mean"] <= found["high"]
    assert "vs_ce_zero" in cells["nls-zero"]["metrics"]["ece_debiased"]


def test_runs_attacked_on_fewer_images_are_compared_on_those(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    made = make("nls-zero", 0, 1.0)
    short = {k: v[:, :25] if k.startswith("right ") else v for k, v in made.arrays.items()}
    raw = tmp_path / "tiny" / stored_runs.FOLDER
    stored_runs.write(replace(made, arrays=short), made_labels(), CURVE, raw)
    got = report.build("tiny", tmp_path)["cells"]["nls-zero"]["robust"]["worst"]["2"]["vs_ce_zero"]
    runs, _ = stored_runs.read(raw)
    gaps = [
        float((mine.right["worst"][2][:25].double() - base.right["worst"][2][:25].double()).mean())
        for mine, base in zip(runs["nls-zero"].values(), runs["ce-zero"].values(), strict=True)
    ]
    assert got["difference"] == pytest.approx(fmean(gaps))


def test_masking_and_transfer_over_seeds(models: Path) -> None:
    cell = report.read("tiny", models)["cells"]["nls-zero"]
    assert (cell["masking"]["runs_with_signs"], cell["masking"]["runs"]) == (2, 3)
    assert cell["transfer"]["other"]["8"]["mean"] == pytest.approx(0.6)


@pytest.mark.parametrize(("unlike", "shown"), [(0, True), (30, False)])
def test_a_sign_of_masking_holds_over_seeds(
    unlike: int, shown: bool, models: Path, tmp_path: Path
) -> None:
    """Square finds more than PGD on ten images in every run, or in one run alone."""
    raw = tmp_path / "tiny" / stored_runs.FOLDER
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    for seed in range(3):
        made = make("nls-zero", seed, 1.0)
        pgd = np.ones((EPSILONS, 40), dtype=bool)
        square = pgd.copy()
        square[:, : 10 if seed == 0 or not unlike else 0] = False
        arrays = {k: v for k, v in made.arrays.items() if not k.startswith("right ")}
        arrays |= {"right pgd": pgd, "right square": square, "right worst": square}
        stored_runs.write(replace(made, arrays=arrays), made_labels(), CURVE, raw)
    masking = report.build("tiny", tmp_path)["cells"]["nls-zero"]["masking"]
    assert ("black box wins" in masking["signs"]) == shown
    assert masking["verdict"] == ("masking" if masking["signs"] else "no sign")


def test_an_attack_that_one_run_alone_met_is_reported_of_it(models: Path, tmp_path: Path) -> None:
    raw = tmp_path / "tiny" / stored_runs.FOLDER
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    made = make("nls-zero", 1, 1.0)
    robust = {**made.found["robust"], "autoattack": [0.25] * EPSILONS}
    right = torch.arange(40).expand(EPSILONS, 40) < 10
    arrays = {**made.arrays, "right autoattack": right.numpy()}
    found = {**made.found, "robust": robust}
    stored_runs.write(replace(made, found=found, arrays=arrays), made_labels(), CURVE, raw)
    table = report.build("tiny", tmp_path)["cells"]["nls-zero"]["robust"]
    assert (table["autoattack"]["2"]["mean"], table["autoattack"]["2"]["n"]) == (0.25, 1)
    assert table["pgd"]["2"]["n"] == 3


def test_runs_that_met_fewer_attacks_than_others_are_left_out(models: Path, tmp_path: Path) -> None:
    """The worst of fewer attacks flatters: once one run met all of now, so must the others."""
    raw = tmp_path / "tiny" / stored_runs.FOLDER
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    made = make("nls-zero", 1, 1.0)
    robust = made.found["robust"] | {case: [0.25] * EPSILONS for case in robustness.CASES}
    found = {**made.found, "robust": robust}
    stored_runs.write(replace(made, found=found), made_labels(), CURVE, raw)
    cells = report.build("tiny", tmp_path)["cells"]
    assert cells["nls-zero"]["robust"]["worst"]["2"]["n"] == 1
    assert cells["nls-zero"]["masking"]["runs"] == 1
    assert "robust" not in cells["ce-zero"]  # none of its runs met them
    assert cells["ce-zero"]["seeds"] == [0, 1, 2]  # all else is of all runs


def test_the_report_is_the_same_each_time(models: Path) -> None:
    path = models / "tiny" / report.REPORT
    first = path.read_bytes()
    report.build("tiny", models)
    assert path.read_bytes() == first


def test_missing_and_damaged_files_are_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no raw results in"):
        report.build("tiny", tmp_path)
    with pytest.raises(CheckpointError, match=r"report\.json is missing"):
        report.read("tiny", tmp_path)
    folder = tmp_path / "raw"
    stored_runs.write(make("ce-zero", 0, 1.0), made_labels(), CURVE, folder)
    (folder / "ce-zero" / "seed0.npz").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"seed0\.npz is damaged"):
        stored_runs.read(folder)
    json.loads((folder / "ce-zero" / "seed0.json").read_text())
