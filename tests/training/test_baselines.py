"""Baselines by one command: tuned once, trained once, measured beside the family's own cells."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nls_core import files, zoo
from nls_core.cli.evaluate import measured_family
from nls_core.data import datasets
from nls_core.errors import CheckpointError, NLSLabError
from nls_core.evidence import report, stored_runs
from nls_core.evidence.collect import Store
from nls_core.evidence.measure import predict
from nls_core.evidence.parts import LONGEST, PARTS
from nls_core.evidence.robustness import WORST
from nls_core.families import FAMILIES, Baselines, Family
from nls_core.settings import ROOT, Settings
from nls_core.training import baseline_search, baselines, checkpoints, grid, jobs, loop, seeds
from nls_core.training.checkpoints import BEST, BEST_NLL, LOG
from nls_core.training.jobs import Job
from nls_core.training.options import Options
from nls_core.training.publish import rows
from tests.helpers.command import Nls
from tests.helpers.evidence import hurry
from tests.helpers.inside import train_inside
from tests.helpers.steps import RECIPE, separable

DECLARED = Baselines(
    tuned={"ls": ({"smoothing": 0.9}, {"smoothing": 0.05})},
    fixed={
        "ce_early": {"loss": "ce"},
        "ce_matched": {"loss": "ce", "weight_decay": 1e-3},
        "nls_matched": {"loss": "nls", "weight_decay": 1e-5},
        "mbls": {"loss": "ce_margin"},
    },
    rates={"ce_margin": (0.02,)},
    early=("ce_early",),
    attacked=("ce_matched", "nls_matched"),
    search_epochs=1,
    seeds=1,
)


@dataclass(frozen=True)
class Trained:
    family: Family
    settings: Settings
    runs: Path
    record: dict[str, Any]
    stages: dict[str, tuple[int, int | None]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A family with its own two cells measured, and then its baselines, all trained in here."""
    folder = tmp_path_factory.mktemp("baselines")
    recipe = replace(RECIPE, dataset="separable", epochs=3, freeze_bn=False)
    rates = {"ce": (0.05,), "nls": (1.0,)}
    family = Family("tiny", recipe, rates, 1, paddings=("zero",), headline=("ce-zero", "nls-zero"))
    family = replace(family, baselines=DECLARED)
    settings = Settings(models_dir=folder / "models", data_dir=folder / "data", device="cpu")
    stages: dict[str, tuple[int, int | None]] = {}
    found = {"ce": 0.05, "ls": 0.05, "nls": 1.0}
    files.write_json(settings.models_dir / "tiny" / "search.json", {"chosen": found})
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        patch.setattr(report, "RESAMPLES", 40)
        patch.setitem(FAMILIES, "tiny", family)
        train_inside(patch)
        runs = folder / "runs"
        own = grid.cell_jobs(family, found, runs, 1)
        jobs.run_jobs(own, 1, lambda done: None)
        seeds.publish_seeds(own, family, settings, (separable(), separable()), runs)
        measured_family("tiny", settings, runs, Store(runs / "evaluate"), ["clean", "attacks"])
        record = baselines.train(
            family,
            settings,
            Options(runs, baselines=True),
            lambda stage, done, total: stages.update({stage: (done, total)}),
        )
        yield Trained(family, settings, runs, record, stages)


def test_every_baseline_stands_beside_the_familys_own_cells(trained: Trained) -> None:
    path = trained.settings.models_dir / "tiny" / "baselines.json"
    record = json.loads(path.read_text())
    assert record == trained.record
    assert record["command"] == "nls train --grid tiny --baselines"
    names = {"ls_tuned-zero", "ce_early-zero", "ce_matched-zero", "nls_matched-zero",
             "mbls-zero"}  # fmt: skip
    assert set(record["cells"]) == {"ce-zero", "ce_temperature-zero", "nls-zero", *names}
    assert set(record["settings"]) == names
    assert record["settings"]["nls_matched-zero"]["weight_decay"] == 1e-5
    assert record["settings"]["nls_matched-zero"]["lr"] == 1.0
    own = report.read("tiny", trained.settings.models_dir)["cells"]
    for cell in ("ce-zero", "nls-zero"):  # the very figures of the report
        mine, theirs = (each[cell]["metrics"]["nll"] for each in (record["cells"], own))
        assert (mine["mean"], mine["low"]) == (theirs["mean"], theirs["low"])
    entry = record["cells"]["ls_tuned-zero"]["metrics"]["ece"]
    beside = record["cells"]["nls-zero"]["metrics"]["ece"]
    assert entry["vs_nls_zero"]["difference"] == pytest.approx(entry["mean"] - beside["mean"])
    assert record["settings"]["mbls-zero"]["lr"] == 0.02
    assert trained.stages["learning-rate search"] == (1, 1)
    assert trained.stages["search of the baselines"] == (2, 2)
    assert trained.stages["training of the baselines"] == (15, 15)


def test_the_setting_with_the_lowest_validation_nll_is_chosen(trained: Trained) -> None:
    search = trained.record["search"]
    of_rates, *tried = search["tried"]
    assert (of_rates["loss"], of_rates["lr"], search["rates"]) == (
        "ce_margin", 0.02, {"ce_margin": 0.02},
    )  # fmt: skip
    assert [row["smoothing"] for row in tried] == [0.9, 0.05]
    best = min(tried, key=lambda row: float(row["val_nll"]))
    assert search["chosen"] == {"ls": {"smoothing": best["smoothing"]}}
    chosen = trained.record["settings"]["ls_tuned-zero"]
    assert chosen["smoothing"] == best["smoothing"] == 0.05


def test_an_early_baseline_is_the_epoch_of_the_lowest_nll(trained: Trained) -> None:
    folder = trained.runs / "tiny" / "baselines"
    run = folder / "ce_early" / "seed0"
    stored, manifest = zoo.load("tiny/ce_early-zero", folder / "seeds" / "0")
    best = torch.load(run / BEST_NLL, weights_only=True)["model"]
    assert all(torch.equal(stored.net.state_dict()[k].half(), v.half()) for k, v in _net(best))
    lowest = min(rows(run / LOG), key=lambda row: float(row["val_nll"]))
    assert manifest.recipe["best_epoch"] == int(lowest["epoch"])
    other, _ = zoo.load("tiny/ce_matched-zero", folder / "seeds" / "0")
    best = torch.load(folder / "ce_matched" / "seed0" / BEST, weights_only=True)["model"]
    assert all(torch.equal(other.net.state_dict()[k].half(), v.half()) for k, v in _net(best))


def _net(state: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    named = [(k.removeprefix("net."), v) for k, v in state.items() if k.startswith("net.")]
    assert named
    return [(k, v) for k, v in named if v.is_floating_point()]


def test_figures_are_those_of_the_stored_weights_on_the_test_split(trained: Trained) -> None:
    runs, labels = stored_runs.read(trained.settings.models_dir / "tiny" / "baselines")
    test = datasets.load("separable", trained.settings.data_dir, "test")
    assert torch.equal(labels, test.labels)
    model, _ = zoo.load("tiny/ls_tuned-zero", trained.runs / "tiny" / "baselines" / "seeds" / "0")
    logits = predict(model, test.images)
    kept = runs["ls_tuned-zero"][0].logits
    assert torch.allclose(kept, logits - logits.amax(1, keepdim=True), atol=0.02)
    assert "shift" in runs["ls_tuned-zero"][0].found
    assert not runs["ls_tuned-zero"][0].right


def test_what_is_attacked_meets_all_attacks_and_the_headline_cells(trained: Trained) -> None:
    cells = trained.record["cells"]
    for cell in ("ce_matched-zero", "nls_matched-zero"):
        assert {"pgd", "apgd-ce", "apgd-t", "square", WORST} <= set(cells[cell]["robust"])
        assert {"ce-zero", "nls-zero"} <= set(cells[cell]["transfer"])
    gaps = trained.record["under_attack"]
    assert list(gaps) == [
        "nls - ce, product of ce", "nls - ce, product of nls", "ce, product of nls - of ce",
    ]  # fmt: skip
    means = {
        cell: cells[cell]["robust"][WORST]["4"]["mean"] for cell in cells if "robust" in cells[cell]
    }
    found = gaps["nls - ce, product of nls"]["4"]["difference"]
    assert found == pytest.approx(means["nls-zero"] - means["ce_matched-zero"])


def test_nothing_is_trained_or_measured_twice(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("done again")

    monkeypatch.setattr(loop, "run", refuse)
    for part in (*baselines.MEASURED, LONGEST):
        monkeypatch.setitem(PARTS, part, replace(PARTS[part], run=refuse))
    options = Options(trained.runs, baselines=True)
    assert baselines.train(trained.family, trained.settings, options) == trained.record


def test_only_what_has_no_raw_results_is_made(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine: the searches stand, one run is made, and the record is the same."""
    settings = trained.settings.model_copy(update={"models_dir": tmp_path / "models"})
    shutil.copytree(trained.settings.models_dir, settings.models_dir)
    lost = settings.models_dir / "tiny" / "baselines" / "ce_early-zero" / "seed0.json"
    lost.unlink()
    made = train_inside(monkeypatch)
    options = Options(tmp_path / "runs", baselines=True, missing=True)
    assert baselines.train(trained.family, settings, options) == trained.record
    assert made == [tmp_path / "runs" / "tiny" / "baselines" / "ce_early" / "seed0"]
    assert lost.exists()
    other = replace(DECLARED, fixed={**DECLARED.fixed, "ce_matched": {"loss": "ce"}})
    with pytest.raises(CheckpointError, match=r"other settings of \['ce_matched-zero'\] than are"):
        baselines.train(replace(trained.family, baselines=other), settings, options)
    # of a family without a record, all is missing
    (settings.models_dir / "tiny" / "baselines.json").unlink()
    shutil.rmtree(settings.models_dir / "tiny" / "baselines")
    empty = Options(tmp_path / "none", finished=True, baselines=True, missing=True)
    with pytest.raises(CheckpointError, match="there is no finished run"):
        baselines.train(trained.family, settings, empty)


def test_an_unfinished_search_chooses_nothing(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs no search is measured meanwhile."""
    settings = trained.settings.model_copy(update={"models_dir": tmp_path})
    # raw results of what is not declared so lie there still, and do not count
    shutil.copytree(trained.settings.models_dir, tmp_path, dirs_exist_ok=True)
    more = replace(
        DECLARED,
        tuned={"ls": (*DECLARED.tuned["ls"], {"smoothing": 0.5})},
        rates={"ce_margin": (0.02, 0.03)},
    )
    family = replace(trained.family, baselines=more)
    options = Options(trained.runs, finished=True, baselines=True)
    record = baselines.train(family, settings, options)
    assert set(record["settings"]) == {"ce_early-zero", "ce_matched-zero", "nls_matched-zero"}
    assert "ls_tuned-zero" not in record["cells"]
    assert record["search"] == {"epochs": 1, "tried": [], "rates": {}, "chosen": {}}
    assert record["cells"]["nls_matched-zero"]["seeds"] == [0]
    assert record["under_attack"] == trained.record["under_attack"]


def test_settings_that_diverged_are_passed_over(tmp_path: Path) -> None:
    declared = Baselines(tuned={"ls": ({"smoothing": 0.1}, {"smoothing": 0.2})}, fixed={})
    family = Family("tiny", RECIPE, {"ls": (0.1,)}, 1, baselines=declared)
    tuning = baseline_search.tuning_jobs(family, declared, {"ls": 0.1}, tmp_path)
    _diverge(tuning[0])
    log = "epoch,val_accuracy,val_nll,val_ece\n" + "1,0.5,1.0,0.1\n" * declared.search_epochs
    files.write_text(tuning[1].out / LOG, log)
    tried, chosen = baseline_search.tuned(declared, tuning)
    assert chosen == {"ls": {"smoothing": 0.2}}
    assert [("val_nll" in row) for row in tried] == [False, True]
    (tuning[1].out / LOG).unlink()
    assert baseline_search.tuned(declared, tuning) == ([], {})  # one is missing
    _diverge(tuning[1])
    with pytest.raises(NLSLabError, match="every setting of ls diverged"):
        baseline_search.tuned(declared, tuning)


def _diverge(job: Job) -> None:
    checkpoints.write_diverged(job.out, job.recipe, "for a test")


def test_what_fashion_declares_is_what_the_rules_say() -> None:
    family = FAMILIES["fashion"]
    declared = family.baselines
    assert declared is not None
    rules = " ".join((ROOT / "docs" / "rules.md").read_text(encoding="utf-8").split())
    smoothings = ", ".join(f"{each['smoothing']:g}" for each in declared.tuned["ls"])
    gammas = ", ".join(f"{each['gamma']:g}" for each in declared.tuned["focal"])
    assert f"`ls` with s in {{{smoothings}}}" in rules
    assert f"`focal` with γ in {{{gammas}}}" in rules
    assert f"after the last of {declared.search_epochs} epochs, seed 1000" in rules
    search = files.read_json(ROOT / "models" / "fashion" / "search.json")["chosen"]
    rates = {loss: float(search[loss]) for loss in declared.losses()}
    ce, nls = (family.recipe.weight_decay * rates[loss] for loss in ("ce", "nls"))
    fixed = declared.fixed
    assert fixed["ce_matched"]["weight_decay"] * rates["ce"] == pytest.approx(nls)
    assert fixed["nls_matched"]["weight_decay"] * rates["nls"] == pytest.approx(ce)
    rates |= dict.fromkeys(declared.rates, 0.1)
    for job in baseline_search.tuning_jobs(family, declared, rates, Path("runs")):
        job.recipe.check()
        assert job.recipe.seed == 1000
    chosen = {"ls": {"smoothing": 0.03}, "focal": {"gamma": 1.0}}
    made = baselines.jobs_of(family, declared, rates, chosen, Path("runs"))
    assert len(made) == 7 * 3
    assert len({each.job.out for each in made}) == len(made)
    assert {each.job.recipe.epochs for each in made} == {family.recipe.epochs}
    assert {each.cell for each in made if each.early} == {"ce_early-zero"}


def test_baselines_and_aberrations_are_two_commands(nls: Nls) -> None:
    both = nls("train", "--grid", "fashion", "--aberrations", "--baselines")
    assert both.status == 2
    assert "expected one of ['aberrations', 'baselines']; got both" in both.line
    refused = nls("train", "--grid", "photos", "--baselines")
    assert refused.status == 2
    assert "which has no --baselines" in refused.line
    alone = nls("train", "--grid", "fashion", "--missing")
    assert alone.status == 2
    assert "--missing belongs to one of ['--aberrations', '--baselines']" in alone.line
