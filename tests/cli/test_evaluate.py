"""`nls evaluate`: figures that hold, tables, resuming, and a family's report over its seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nls_core import zoo
from nls_core.data import datasets
from nls_core.evidence import report
from nls_core.evidence.parts import PARTS
from tests.conftest import TINY, make_model, tiny_manifest
from tests.helpers.command import Nls, noise_data
from tests.helpers.evidence import count, hurry


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
    assert kept == 2 * len(PARTS)
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


def test_a_family_without_runs_says_how_to_make_them(nls: Nls, tmp_path: Path) -> None:
    ended = nls("evaluate", "--family", "tiny", "--runs", str(tmp_path))
    assert ended.status == 1
    assert "nls train --grid tiny --seeds 3" in ended.line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([TINY[0], "--dataset", "separable"], "tiny/ce-zero expects images of (1, 28, 28)"),
        (["--only", "clean,magic"], "unknown part 'magic'; expected one of"),
        (["--family", "tiny", TINY[0]], "give it alone"),
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
