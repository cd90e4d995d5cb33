"""The command line: exit statuses, one clear line on failure, output that parses."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

from nls_core import cli, datasets, robust, train, zoo
from nls_core.analyzer import Analyzer
from nls_core.datasets import Data
from nls_core.schemas import analysis_response
from nls_core.settings import Settings
from nls_core.types import AnalysisRequest, NLSLabError
from tests.conftest import TINY, picture_bytes
from tests.steps import RECIPE, separable


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """What was said on stderr, one line and no more."""
        assert len(self.err.splitlines()) == 1, self.err
        return self.err.strip()


class Nls(Protocol):
    def __call__(self, *arguments: str) -> Ended: ...


@pytest.fixture
def nls(
    models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Nls:
    """Run the `nls` command over the tiny models and a data set 'noise' that fits them."""
    monkeypatch.setenv("NLS_MODELS_DIR", str(models_dir))
    monkeypatch.setenv("NLS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NLS_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(datasets.DATASETS, "noise", noise)
    monkeypatch.setitem(datasets.DATASETS, "separable", lambda *_: separable())

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["nls", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, said.out, said.err)

    return run


def noise(folder: Path, split: str, download: bool) -> Data:
    generator = torch.Generator().manual_seed(len(split))
    images = torch.randint(0, 256, (50, 1, 28, 28), generator=generator).byte()
    labels = torch.randint(0, 10, (50,), generator=generator)
    return Data("noise", images, labels, tuple("abcdefghij"), "fashion")


# ---------------------------------------------------------------- nls models


def test_models_as_json_are_the_manifests(nls: Nls, models_dir: Path) -> None:
    ended = nls("models", "--json")
    assert ended.status == 0
    manifests = [asdict(zoo.read_manifest(model_id, models_dir)) for model_id in TINY]
    assert json.loads(ended.out) == json.loads(json.dumps(manifests))


def test_models_as_tables(nls: Nls, models_dir: Path) -> None:
    _, *rows = zoo.summary(zoo.read_manifest(model_id, models_dir) for model_id in TINY)
    table, markdown = nls("models"), nls("models", "--markdown")
    assert (table.status, markdown.status) == (0, 0)
    for row in rows:
        assert all(cell in table.out for cell in row)
        assert f"| {' | '.join(row)} |" in markdown.out.splitlines()


def test_no_models_make_an_empty_list(nls: Nls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLS_MODELS_DIR", "none")
    assert json.loads(nls("models", "--json").out) == []
    assert nls("models").status == 0


# ---------------------------------------------------------------- nls evaluate


def test_evaluate_measures_the_named_models(nls: Nls, models_dir: Path) -> None:
    ended = nls("evaluate", TINY[1], "--dataset", "noise", "--json")
    assert ended.status == 0
    answer = json.loads(ended.out)
    assert answer["schema"] == 1
    assert list(answer["models"]) == [TINY[1]]
    figures = answer["models"][TINY[1]]
    test = noise(Path(), "test", False)
    model = zoo.load(TINY[1], models_dir)[0]
    logits = model(test.images.float() / 255)
    right = int((logits.argmax(1) == test.labels).sum())
    assert figures["accuracy"] == pytest.approx(right / 50)
    assert figures["nll"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, test.labels)), rel=1e-4
    )
    assert figures["images"] == 50
    assert figures["temperature"] > 0


def test_evaluate_takes_all_models_when_none_is_named(nls: Nls) -> None:
    table = nls("evaluate", "--dataset", "noise")
    assert table.status == 0
    assert all(model_id in table.out for model_id in TINY)
    (images,) = (line for line in table.out.splitlines() if "images" in line)
    assert images.count("50") == 2
    assert "50.0" not in images


def test_evaluate_of_other_images_is_wrong_use(nls: Nls) -> None:
    ended = nls("evaluate", TINY[0], "--dataset", "separable")
    assert ended.status == 2
    assert ended.line.startswith("nls: tiny/ce-zero expects images of (1, 28, 28)")


def test_evaluate_without_models_fails(nls: Nls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLS_MODELS_DIR", "none")
    ended = nls("evaluate", "--json")
    assert (ended.status, ended.out) == (1, "")
    assert "no models in none" in ended.line


# ---------------------------------------------------------------- nls train


def test_train_makes_a_run_that_goes_on(nls: Nls, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    options = ["--dataset", "separable", "--arch", "smallresnet-8", "--no-amp", "--batch-size"]
    command = ["train", *options, "16", "--epochs", "2", "--out", out]
    first = nls(*command, "--quiet")
    assert (first.status, first.out) == (0, "")
    assert "best validation accuracy" in first.line
    again = nls(*command, "--quiet")
    assert again.status == 2
    assert "go on with --resume" in again.line
    assert nls(*command, "--resume").status == 0
    other = nls(*command, "--resume", "--lr", "0.3")
    assert other.status == 1
    assert "another recipe, with {'lr': 0.1}" in other.line


def test_a_diverged_run_fails_with_advice(nls: Nls, tmp_path: Path) -> None:
    options = ["--dataset", "separable", "--arch", "smallresnet-8", "--lr", "1e30", "--quiet"]
    ended = nls("train", *options, "--out", str(tmp_path / "run"))
    assert ended.status == 1
    assert "lower the learning rate" in ended.line


def test_train_needs_a_folder_or_a_grid(nls: Nls) -> None:
    ended = nls("train")
    assert ended.status == 2
    assert "expected --out FOLDER for a single run, or --grid FAMILY" in ended.line


def test_a_grid_takes_no_recipe(nls: Nls) -> None:
    ended = nls("train", "--grid", "fashion", "--epochs", "3", "--no-flip", "--out", "x")
    assert ended.status == 2
    assert "['epochs', 'flip', 'out_dir']" in ended.line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--grid", "nope"], "unknown grid 'nope'"),
        (["--out", "x", "--loss", "mse"], "unknown loss 'mse'; expected one of ['ce'"),
        (["--out", "x", "--dataset", "mnist"], "unknown data set 'mnist'"),
        (["--out", "x", "--padding", "mirror"], "unknown padding 'mirror'"),
        (["--out", "x", "--epochs", "0"], "epochs must lie in [1, inf]; got 0"),
    ],
)
def test_wrong_values_are_wrong_use(arguments: list[str], says: str, nls: Nls) -> None:
    ended = nls("train", *arguments, "--quiet")
    assert ended.status == 2
    assert says in ended.line


def test_a_missing_data_set_is_a_failure_with_the_command(nls: Nls, tmp_path: Path) -> None:
    ended = nls("train", "--dataset", "cifar10", "--out", str(tmp_path / "run"), "--quiet")
    assert ended.status == 1
    assert "--download" in ended.line


# ---------------------------------------------------------------- exit statuses


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["nonsense"],
        ["models", "--nonsense"],
        ["train", "--epochs", "many"],
        ["train", "--jobs", "0"],
        ["evaluate", "tiny/none"],
        ["evaluate", "../tiny/ce-zero"],
        ["compare"],
        ["compare", "missing.png"],
    ],
)
def test_wrong_use_is_status_2_without_a_traceback(arguments: list[str], nls: Nls) -> None:
    ended = nls(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", ["serve", "models", "train", "evaluate", "compare", "bench"])
def test_every_command_has_help(command: str, nls: Nls) -> None:
    ended = nls(command, "--help")
    assert ended.status == 0
    assert command in ended.out
    assert command in nls("--help").out


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NLSLabError("first\n  second"), "nls: first second"),
        (PermissionError(13, "Permission denied", "/x"), "nls: [Errno 13] Permission denied: '/x'"),
        (train.Interrupted("stopped in epoch 1 of 2"), "nls: stopped in epoch 1 of 2"),
        (KeyboardInterrupt(), "nls: stopped"),
        (NLSLabError("[bold]long[/bold] " * 50), ("nls: " + "[bold]long[/bold] " * 50).strip()),
    ],
)
def test_failures_are_status_1_and_one_line(
    error: BaseException, line: str, nls: Nls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(zoo, "available", fail)
    ended = nls("models")
    assert (ended.status, ended.line) == (1, line)


def test_a_wrong_setting_is_named(nls: Nls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLS_PORT", "99999")
    monkeypatch.setenv("NLS_DEVICE", "abacus")
    ended = nls("models")
    assert ended.status == 2
    assert "NLS_PORT='99999': " in ended.line
    assert "NLS_DEVICE='abacus': " in ended.line


def test_the_device_of_the_settings_is_the_trainers(
    nls: Nls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[torch.device] = []

    def run(*_: Any, device: torch.device, **__: Any) -> train.Progress:
        got.append(device)
        return train.Progress(rows=[{"val_ece": 0.0}])

    monkeypatch.setattr(train, "run", run)
    assert nls("train", "--dataset", "separable", "--out", str(tmp_path), "--quiet").status == 0
    assert got == [Settings().torch_device()] == [torch.device("cpu")]
    assert RECIPE.arch in nls("train", "--help").out


def test_compare_prints_the_numbers_of_the_analyzer_and_writes_a_report(
    nls: Nls, analyzer: Analyzer, tmp_path: Path
) -> None:
    picture, page = tmp_path / "own.png", tmp_path / "out.html"
    picture.write_bytes(picture_bytes())
    models = ["--baseline", TINY[0], "--candidate", TINY[1], "--epsilons", "1,8"]
    got = json.loads(nls("compare", str(picture), *models, "--json").out)
    request = AnalysisRequest(TINY, epsilons=(1 / 255, 8 / 255))
    wanted = analysis_response(analyzer.analyze(picture_bytes(), request)).model_dump(mode="json")
    assert got.pop("seconds") > 0
    assert wanted.pop("seconds") > 0
    assert got == wanted
    ended = nls("compare", str(picture), *models, "--output", str(page))
    assert ended.status == 0
    assert "says" in ended.out or "say" in ended.out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--epsilons", "1,x"], "epsilons must be comma-separated numbers in 1/255"),
        (["--epsilons", "300"], "300/255"),
        (["--cam", "magic"], "unknown cam 'magic'"),
        (["--candidate", "tiny/none"], "tiny/none"),
    ],
)
def test_compare_refuses_in_one_line(
    nls: Nls, tmp_path: Path, option: list[str], words: str
) -> None:
    picture = tmp_path / "own.png"
    picture.write_bytes(picture_bytes())
    ended = nls("compare", str(picture), "--baseline", TINY[0], "--candidate", TINY[1], *option)
    assert ended.status == 2
    assert words in ended.line


def test_attack_prints_accuracies_that_fall_with_strength(
    nls: Nls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(robust.CASES, "square, 500 queries", ("square", {"queries": 5}))
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", noise)
    got = json.loads(nls("attack", *TINY, "--images", "6", "--json").out)
    assert (got["images"], got["epsilons_255"]) == (6, [1, 2, 4, 8])
    assert set(got["accuracy"]) == set(TINY)
    for cases in got["accuracy"].values():
        worst = cases[robust.WORST]
        assert worst == sorted(worst, reverse=True)
    table = nls("attack", TINY[0], "--images", "6").out.splitlines()
    assert len(table) == 2 + len(robust.CASES) + 1
    assert all(line.startswith("| ") for line in table[2:])
