"""`nls evaluate`: figures that hold, tables, resuming, and a family's report over its seeds."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nls_core import families, zoo
from nls_core.data import datasets
from nls_core.evidence import out_of_fold, report
from nls_core.evidence.parts import USUAL
from nls_core.settings import Settings
from tests.conftest import TINY, make_model, tiny_manifest
from tests.helpers.command import Nls, noise_data
from tests.helpers.evidence import count, hurry

MODELS = Settings().models_dir


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(report, "RESAMPLES", 10)


def test_the_named_models_are_measured(nls: Nls, models_dir: Path, tmp_path: Path) -> None:
    where = ["--dataset", "noise", "--runs", str(tmp_path)]
    ended = nls("evaluate", TINY[1], "--only", "clean", "--json", *where)
    assert ended.status == 0
    answer = json.loads(ended.out)
    assert answer["schema"] == 2
    assert list(answer["models"]) == [TINY[1]]
    assert answer["command"] == f"nls evaluate {TINY[1]} --only clean --dataset noise"
    again = nls(*answer["command"].split()[1:], "--json", "--runs", str(tmp_path / "again"))
    assert json.loads(again.out) == answer  # it reproduces itself
    figures = answer["models"][TINY[1]]["metrics"]
    test = noise_data(Path(), "test", False)
    model = zoo.load(TINY[1], models_dir)[0]
    logits = model(test.images.float() / 255)
    right = int((logits.argmax(1) == test.labels).sum())
    assert figures["accuracy"] == pytest.approx(right / 50)
    assert figures["nll"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, test.labels)), rel=1e-4
    )
    assert figures["images"] == 50
    assert answer["models"][TINY[1]]["temperature"] > 0


def test_all_parts_of_all_models_as_tables_and_as_a_file(nls: Nls, tmp_path: Path) -> None:
    where = ["--dataset", "noise", "--runs", str(tmp_path), "--output", str(tmp_path / "r.json")]
    ended = nls("evaluate", *where)
    assert ended.status == 0, ended.err
    record = json.loads((tmp_path / "r.json").read_text())
    assert set(record["models"]) == set(TINY)
    metrics, attacks = ended.out.strip().split("\n\n")
    assert all(name in metrics.splitlines()[0] for name in TINY)
    ece = record["models"][TINY[0]]["metrics"]["ece"]
    assert f"| ece | {ece:.4f} |" in metrics
    worst = record["models"][TINY[1]]["robust"]["worst"]
    row = " | ".join(f"{100 * value:.1f}" for value in worst)
    assert f"| {TINY[1]} | worst | {row} |" in attacks
    kept = count(tmp_path / "evaluate")
    assert kept == 2 * len(USUAL)
    assert nls("evaluate", *where).status == 0
    assert count(tmp_path / "evaluate") == kept


def test_a_family_over_its_seeds(nls: Nls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", noise_data)
    monkeypatch.setenv("NLS_MODELS_DIR", str(tmp_path / "models"))
    runs = tmp_path / "runs"
    for seed in range(3):  # the last seed lacks a cell
        for cell in ("ce-zero", "nls-partial")[: 1 + (seed < 2)]:
            made = replace(tiny_manifest(f"tiny/{cell}"), seed=seed)
            folder = runs / "tiny" / "seeds" / str(seed)
            zoo.store(make_model(seed=10 * seed, padding=made.padding).net, made, folder)
            curve = "epoch,val_accuracy\n1,0.5\n2,0.9\n"
            (folder / made.id / "training.csv").write_text(curve)
    refused = nls("evaluate", "--family", "tiny", "--runs", str(runs), "--only", "ood,maps")
    assert refused.status == 2
    assert "none yet of tiny/ce-zero of seed 0, tiny/nls-partial of seed 0; got" in refused.line
    ended = nls("evaluate", "--family", "tiny", "--runs", str(runs))
    assert ended.status == 0, ended.err
    record = report.read("tiny", tmp_path / "models")
    assert record["command"] == "nls evaluate --family tiny"
    assert set(record["cells"]) == {"ce-zero", "nls-partial", "ce_temperature-zero"}
    cell = record["cells"]["nls-partial"]
    assert cell["seeds"] == [0, 1]
    assert set(cell["transfer"]) == {"ce-zero", "surrogate"}
    assert cell["metrics"]["epochs_to_90"]["mean"] == 2.0
    assert "| nls-partial | 2 |" in ended.out
    # what the last seed lacks still attacks it, from another seed
    assert record["cells"]["ce-zero"]["seeds"] == [0, 1, 2]
    assert record["cells"]["ce-zero"]["transfer"]["nls-partial"]["4"]["n"] == 3
    # one part alone joins what is on record of the same weights, and nothing of it is lost
    shutil.copytree(runs / "tiny", tmp_path / "elsewhere" / "tiny")
    one = ("evaluate", "--family", "tiny", "--runs", str(tmp_path / "elsewhere"), "--only")
    for part in ("autoattack", "clean"):
        ended = nls(*one, part)
        assert ended.status == 0, ended.err
        with_preset = report.read("tiny", tmp_path / "models")["cells"]
        for name, cell in record["cells"].items():
            robust = cell.get("robust", {})
            assert with_preset[name] == cell | (
                {"robust": with_preset[name]["robust"]} if robust else {}
            )
            assert with_preset[name].get("robust", {}).items() >= robust.items()
            assert ("autoattack" in with_preset[name].get("robust", {})) == bool(robust)
    assert count(tmp_path / "elsewhere" / "evaluate") == 3 * 2  # both cells of a seed are one file


def test_a_family_without_runs_says_how_to_make_them(nls: Nls, tmp_path: Path) -> None:
    ended = nls("evaluate", "--family", "tiny", "--runs", str(tmp_path))
    assert ended.status == 1
    assert "nls train --grid tiny --seeds 3" in ended.line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([TINY[0], "--dataset", "separable"], "tiny/ce-zero expects images of (1, 28, 28)"),
        (["--only", "clean,magic"], "unknown part 'magic'; expected one of"),
        (["--family", "tiny", TINY[0]], "it takes no ids"),
        (["--family", "photos", "--only", "clean"], "measured out of fold, while it is trained"),
    ],
)
def test_wrong_use(nls: Nls, options: list[str], words: str) -> None:
    ended = nls("evaluate", *options)
    assert ended.status == 2
    assert words in ended.line


def test_without_models_it_fails(nls: Nls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLS_MODELS_DIR", "none")
    ended = nls("evaluate", "--json")
    assert (ended.status, ended.out) == (1, "")
    assert "no models in none" in ended.line


# ---------------------------------------------------------------- measured out of fold


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models folder, a copy of its own of the shipped family that is measured out of fold."""
    folder = tmp_path / "models"
    shutil.copytree(MODELS / "photos", folder / "photos")
    monkeypatch.setenv("NLS_MODELS_DIR", str(folder))
    return folder


def test_weights_are_not_measured_on_the_objects_they_were_trained_on(
    nls: Nls, shipped: Path
) -> None:
    for ids in (["photos/ce-zero"], []):
        ended = nls("evaluate", *ids, "--dataset", "everyday-objects")
        assert ended.status == 2
        assert "was trained on all of everyday-objects" in ended.line


def test_all_models_of_three_data_sets_without_ids(
    nls: Nls, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for family in ("aaa", "cifar-10"):
        monkeypatch.setitem(datasets.DATASETS, family, noise_data)
        made = tiny_manifest(f"{family}/ce-zero")
        made = replace(made, recipe=dict(made.recipe) | {"dataset": family})
        zoo.store(make_model(seed=1).net, made, shipped)
    monkeypatch.setattr(out_of_fold, "RESAMPLES", 5)
    ended = nls("evaluate", "--only", "clean", "--json", "--runs", str(tmp_path / "runs"))
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    assert record["command"] == "nls evaluate --only clean"
    for name in ("aaa/ce-zero", "cifar-10/ce-zero"):
        assert record["models"][name]["metrics"]["images"] == 50
    assert set(record["models"]["photos/ce-zero"]) == {"metrics"}


def test_two_families_out_of_fold_keep_their_own_references(
    nls: Nls, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shipped / "photos", shipped / "things")
    for path in (shipped / "things").glob("*/config.json"):
        path.write_text(path.read_text("utf-8").replace('"photos/', '"things/'), "utf-8")
    reference = shipped / "things" / out_of_fold.REFERENCE
    kept = json.loads(reference.read_text(encoding="utf-8"))
    kept["paddings"]["zero"]["accuracy"] = 0.125
    reference.write_text(json.dumps(kept), encoding="utf-8")
    things = replace(families.FAMILIES["photos"], name="things")
    monkeypatch.setitem(families.FAMILIES, "things", things)
    monkeypatch.setattr(out_of_fold, "RESAMPLES", 5)
    ids = ("photos/ce-zero", "things/ce-zero")
    record = json.loads(nls("evaluate", *ids, "--only", "clean", "--json").out)
    assert list(record["models"]) == list(ids)
    assert set(record["zero_shot"]) == set(record["data"]) == {"photos", "things"}
    assert record["zero_shot"]["things"] == kept["paddings"]
    assert record["zero_shot"]["photos"]["zero"]["accuracy"] > 0.2
    assert record["command"] == "nls evaluate photos/ce-zero things/ce-zero --only clean"
    printed = nls("evaluate", *ids, "--only", "clean").out
    assert printed.count("| zero-shot, zero padding |") == 2
    assert printed.count("| zero-shot, zero padding | 12.5 |") == 1


def test_only_the_parts_that_are_kept_are_shown(
    nls: Nls, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_fold, "RESAMPLES", 5)
    metrics = nls("evaluate", "photos/ce-zero", "--only", "clean")
    masks = nls("evaluate", "photos/ce-zero", "--only", "maps")
    assert ("model, out of fold" in metrics.out, "maps on masks" in metrics.out) == (True, False)
    assert ("model, out of fold" in masks.out, "maps on masks" in masks.out) == (False, True)
    ended = nls("evaluate", "photos/ce-zero", "--only", "clean,shift")
    assert ended.status == 2
    assert "only the parts ['clean', 'maps', 'attacks'] are kept of it; got ['shift']" in ended.line
    raw = json.loads((shipped / "photos/raw/ce-zero/seed0.json").read_text(encoding="utf-8"))
    if "robust" not in raw:  # models of the recipe before were not attacked
        ended = nls("evaluate", "photos/ce-zero", "--only", "attacks")
        assert ended.status == 1
        assert "not all of ['ce-zero'] of photos were attacked" in ended.line


@pytest.fixture
def few(shipped: Path) -> Path:
    """`shipped` with two of its cells, since each takes seconds to report."""
    for folder in (shipped / "photos", shipped / "photos" / "raw"):
        for cell in set(folder.glob("*-*")) - {folder / "ce-zero", folder / "nls-zero"}:
            shutil.rmtree(cell)
    return shipped


def test_its_report_is_made_from_what_training_left(nls: Nls, few: Path) -> None:
    path = few / "photos" / report.REPORT
    path.unlink()
    ended = nls("evaluate", "--family", "photos")
    assert ended.status == 0, ended.err
    made = json.loads(path.read_text(encoding="utf-8"))
    cell = made["cells"]["nls-zero"]
    assert "vs_ce_zero" in cell["metrics"]["accuracy"]
    assert "difference" not in cell["intervals"]["accuracy"]  # one difference, one interval
    shutil.rmtree(few / "photos" / "raw")
    ended = nls("evaluate", "--family", "photos")
    assert ended.status == 1
    assert "`nls train --grid photos` makes them" in ended.line  # it refuses --seeds


def test_a_reference_of_another_data_set_is_refused(nls: Nls, few: Path) -> None:
    path = few / "photos" / out_of_fold.REFERENCE
    path.write_text(path.read_text(encoding="utf-8").replace('"images": 517', '"images": 400'))
    ended = nls("evaluate", "--family", "photos")
    assert ended.status == 1
    assert "is of another data set: expected 517 objects" in ended.line


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_advice_on_missing_runs_is_a_command_that_is_accepted(
    nls: Nls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setenv("NLS_MODELS_DIR", str(tmp_path))
    advice = nls("evaluate", "--family", family, "--runs", str(tmp_path / "runs")).line
    (command,) = re.findall("`nls (train [^`]+)`", advice)
    ended = nls(*command.split(), "--runs", str(tmp_path / "runs"), "--finished")
    assert ended.status == 1  # not 2, wrong use: nothing is finished, or no data set is there


def test_the_preset_of_autoattack_is_measured_by_itself(nls: Nls, tmp_path: Path) -> None:
    where = ["--dataset", "noise", "--runs", str(tmp_path), "--output", str(tmp_path / "r.json")]
    ended = nls("evaluate", TINY[0], "--only", "autoattack", *where)
    assert ended.status == 0, ended.err
    found = json.loads((tmp_path / "r.json").read_text())["models"][TINY[0]]
    row = " | ".join(f"{100 * value:.1f}" for value in found["autoattack"])
    assert f"| {TINY[0]} | autoattack | {row} |" in ended.out
