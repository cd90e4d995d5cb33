"""Aberrant runs by one command: declared, trained once, measured on clean test images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nls_core import files
from nls_core.data import datasets
from nls_core.errors import CheckpointError, InvalidInput
from nls_core.evidence import report
from nls_core.evidence.measure import predict
from nls_core.families import FAMILIES, Aberrations, Family
from nls_core.metrics import calibration
from nls_core.settings import ROOT, Settings
from nls_core.training import aberrations, checkpoints, loop
from nls_core.training.checkpoints import LAST
from nls_core.training.options import Options
from tests.helpers.command import Nls
from tests.helpers.inside import train_inside
from tests.helpers.steps import RECIPE, separable

DECLARED = Aberrations(
    losses=("ce",),
    rates={"nls": (1.0,)},
    conditions={"clean": {}, "symmetric 50 %": {"label_noise": 0.5}},
    groups={"symmetric noise": ("clean", "symmetric 50 %")},
    epochs=2,
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
    folder = tmp_path_factory.mktemp("aberrant")
    recipe = replace(RECIPE, dataset="separable", epochs=1, freeze_bn=False)
    family = Family("tiny", recipe, {"ce": (0.05,)}, 1, aberrations=DECLARED)
    settings = Settings(models_dir=folder / "models", data_dir=folder / "data", device="cpu")
    files.write_json(folder / "models/tiny/search.json", {"chosen": {"ce": 0.05}})
    stages: dict[str, tuple[int, int | None]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "RESAMPLES", 40)
        train_inside(patch)
        record = aberrations.train(
            family,
            settings,
            Options(folder / "runs", aberrations=True),
            lambda stage, done, total: stages.update({stage: (done, total)}),
        )
        yield Trained(family, settings, folder / "runs", record, stages)


def test_every_declared_run_is_trained_and_measured(trained: Trained) -> None:
    path = trained.settings.models_dir / "tiny" / "aberrations.json"
    record = json.loads(path.read_text())
    assert record == trained.record
    assert record["command"] == "nls train --grid tiny --aberrations"
    assert record["rates"] == {"ce": 0.05, "nls": 1.0}
    assert record["groups"] == {"symmetric noise": ["clean", "symmetric 50 %"]}
    assert record["diverged"] == []
    for name, changes in DECLARED.conditions.items():
        condition = record["conditions"][name]
        assert condition.items() >= dict(changes).items()
        assert list(condition["cells"]) == ["ce-zero", "nls-zero"]
        assert set(condition["cells"]["nls-zero"]["metrics"]) == {"accuracy", "ece", "nll", "aurc"}
    assert trained.stages == {
        "learning-rate search": (1, 1),
        "training on aberrant data": (8, 8),
        "measuring on clean test images": (8, 8),
    }


def test_figures_are_of_the_last_epoch_on_clean_labels(trained: Trained) -> None:
    made = aberrations.jobs_of(trained.family, DECLARED, trained.record["rates"], trained.runs)
    name, folder = trained.family.recipe.dataset, trained.settings.data_dir
    train, test = (datasets.load(name, folder, split) for split in ("train", "test"))
    for each in made:
        recipe = each.job.recipe
        state = checkpoints.read(each.job.out / LAST, recipe)
        assert state["progress"]["epoch"] == 2
        model = loop.make_model(recipe, loop.parts_of(train, recipe)[0])
        model.load_state_dict(state["model"])
        probs = predict(model, test.images).softmax(1)
        cell = trained.record["conditions"][each.condition]["cells"][each.cell]
        assert cell["metrics"]["accuracy"]["mean"] == calibration.accuracy(probs, test.labels)
        nll = calibration.nll(probs, test.labels)
        assert cell["metrics"]["nll"]["mean"] == pytest.approx(nll, abs=2e-3)  # kept in float16


def test_nothing_is_trained_or_asked_twice(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr(loop, "run", refuse)
    monkeypatch.setattr(aberrations, "predict", refuse)
    monkeypatch.setattr(report, "RESAMPLES", 40)
    options = Options(trained.runs, aberrations=True)
    assert aberrations.train(trained.family, trained.settings, options) == trained.record


def test_what_is_not_finished_is_left_open(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESAMPLES", 40)
    more = replace(DECLARED, conditions={**DECLARED.conditions, "long tail 2": {"imbalance": 2.0}})
    family = replace(trained.family, aberrations=more)
    options = Options(trained.runs, finished=True, aberrations=True)
    record = aberrations.train(family, trained.settings, options)
    assert record["conditions"]["long tail 2"] == {"imbalance": 2.0, "cells": {}}
    assert record["conditions"]["clean"] == trained.record["conditions"]["clean"]
    none = replace(trained.family, aberrations=replace(DECLARED, epochs=9))
    with pytest.raises(CheckpointError, match="another recipe"):
        aberrations.train(none, trained.settings, options)


def test_only_what_has_no_raw_results_is_made(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine: the search stands, one run is made, and the record is the same."""
    monkeypatch.setattr(report, "RESAMPLES", 40)
    settings = trained.settings.model_copy(update={"models_dir": tmp_path / "models"})
    shutil.copytree(trained.settings.models_dir, settings.models_dir)
    raw = settings.models_dir / "tiny" / "aberrations"
    lost = raw / "symmetric-50" / "nls-zero" / "seed0.npz"
    lost.unlink()
    made = train_inside(monkeypatch)
    options = Options(tmp_path / "runs", aberrations=True, missing=True)
    assert aberrations.train(trained.family, settings, options) == trained.record
    assert made == [tmp_path / "runs/tiny/aberrations/symmetric-50/nls/seed0"]
    longer = replace(trained.family, aberrations=replace(DECLARED, epochs=3))
    with pytest.raises(CheckpointError, match="none can join them; without --missing all are made"):
        aberrations.train(longer, settings, options)
    lost.unlink()
    empty = Options(tmp_path / "none", aberrations=True, missing=True, finished=True)
    with pytest.raises(CheckpointError, match=r"1 runs that have no raw results, the first symm.*"):
        aberrations.train(trained.family, settings, empty)
    lost.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"seed0\.npz"):
        aberrations.train(trained.family, settings, options)


def test_without_the_familys_search_it_says_what_makes_it(trained: Trained, tmp_path: Path) -> None:
    settings = trained.settings.model_copy(update={"models_dir": tmp_path})
    options = Options(trained.runs, aberrations=True)
    with pytest.raises(CheckpointError, match=r"no learning rate of \['ce'\]; `nls train --grid"):
        aberrations.train(trained.family, settings, options)


def test_what_fashion_declares_is_what_the_rules_say() -> None:
    family = FAMILIES["fashion"]
    declared = family.aberrations
    assert declared is not None
    losses = [*declared.losses, *declared.rates]
    assert losses == ["ce", "ls", "nls", "nls_ls", "nce_rce"]
    rules = " ".join((ROOT / "docs" / "rules.md").read_text(encoding="utf-8").split())
    assert f"{declared.epochs} epochs instead of 20, so that its 120 runs" in rules
    rates = ", ".join(f"{rate:g}" for rate in declared.rates["nce_rce"][3:])
    assert f"rate in {{{rates}}}" in rules
    lower = [f"{rate:g}" for rate in declared.rates["nce_rce"][2::-1]]
    assert f"goes on to {lower[0]}, {lower[1]} and {lower[2]}" in rules
    found = aberrations.jobs_of(family, declared, dict.fromkeys(losses, 0.1), Path("runs"))
    assert len(found) == 5 * 8 * 3
    assert len({each.job.out for each in found}) == len(found)
    for each in found:
        each.job.recipe.check()
        assert each.job.recipe.epochs == declared.epochs
        assert each.job.recipe.padding == "zero"
    # of one seed all losses learn from the very same labels
    assert {each.seed for each in found[: len(found) // 3]} == {0}
    assert set(declared.groups) == {"symmetric noise", "asymmetric noise", "long tails"}
    assert {n for names in declared.groups.values() for n in names} == set(declared.conditions)


def test_only_families_with_a_declaration_have_aberrations(nls: Nls) -> None:
    refused = nls("train", "--grid", "photos", "--aberrations")
    assert refused.status == 2
    assert "which has no --aberrations" in refused.line
    with pytest.raises(InvalidInput, match=r"declares no aberrations; families that do: \['fash"):
        aberrations.train(
            Family("bare", RECIPE, {"ce": (0.1,)}, 1), Settings(), Options(Path("runs"))
        )
    seeds = nls("train", "--grid", "fashion", "--aberrations", "--seeds", "5")
    assert seeds.status == 2
    assert "--aberrations has 3 seeds by its declaration" in seeds.line


def test_a_single_run_takes_aberrations(nls: Nls, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(datasets.DATASETS, "separable", lambda *_: separable())
    ended = nls(
        "train", "--dataset", "separable", "--arch", "smallresnet-8", "--epochs", "1", "--no-amp",
        "--batch-size", "8", "--label-noise", "0.4", "--noise-kind", "asymmetric", "--imbalance",
        "2", "--quiet", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert ended.status == 0, ended.line
    made = torch.load(tmp_path / "run" / LAST, weights_only=True)["recipe"]
    assert (
        made.items() >= {"label_noise": 0.4, "noise_kind": "asymmetric", "imbalance": 2.0}.items()
    )
