"""The command line: exit statuses, one clear line on failure, output that parses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from nls_core import listing, zoo
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.errors import Interrupted, NLSLabError
from nls_core.settings import ROOT, Settings
from nls_core.training import loop
from nls_core.training.checkpoints import Position
from nls_core.web.rest.schemas import analysis_response
from tests.conftest import TINY, picture_bytes
from tests.helpers.command import Nls
from tests.helpers.steps import RECIPE

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


def test_the_table_fits_a_terminal_of_80_columns_and_needs_no_torch() -> None:
    """Torch takes seconds to import."""
    code = """import os, sys; sys.argv = ["nls", "models"]; os.environ["COLUMNS"] = "80"
import atexit; atexit.register(lambda: print(*{"torch", "gradio"} & set(sys.modules)))
from nls_core.cli import main; main()"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    *lines, modules = done.stdout.splitlines()
    assert (done.returncode, modules) == (0, "")
    assert all(len(line) <= 80 for line in lines)
    for model_id in listing.available(ROOT / "models"):
        assert any(line.strip().startswith(f"{model_id} ") for line in lines), model_id


def test_what_is_no_manifest_is_named(
    nls: Nls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setenv("NLS_MODELS_DIR", str(tmp_path))
    for text in ("{}", "[]", '{"id": 1}', "nonsense"):
        (tmp_path / "a" / "b" / "config.json").write_text(text)
        ended = nls("models")
        assert ended.status == 1
        assert "config.json" in ended.line


def test_no_models_make_an_empty_list(nls: Nls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLS_MODELS_DIR", "none")
    assert json.loads(nls("models", "--json").out) == []
    assert nls("models").status == 0


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
    options = ["--dataset", "separable", "--arch", "smallresnet-8", "--lr", "1e30"]
    ended = nls("train", *options, "--no-amp", "--quiet", "--out", str(tmp_path / "run"))
    assert ended.status == 1
    assert "lower the learning rate" in ended.line


def test_train_needs_a_folder_or_a_grid(nls: Nls) -> None:
    ended = nls("train")
    assert ended.status == 2
    assert "expected --out FOLDER for a single run, --family NAME for models" in ended.line


def test_a_grid_takes_no_recipe(nls: Nls) -> None:
    ended = nls("train", "--grid", "fashion", "--epochs", "3", "--no-flip", "--out", "x")
    assert ended.status == 2
    assert "['epochs', 'flip', 'out_dir']" in ended.line


def test_a_grid_refuses_what_its_protocol_has_not_and_advises_what_works(nls: Nls) -> None:
    ended = nls("train", "--grid", "photos", "--seeds", "3", "--download")
    assert ended.status == 2
    assert "which has no --download; leave that out: `nls train --grid photos`" in ended.line
    advised = nls("train", "--grid", "photos", "--quiet")
    assert advised.status == 1  # it goes as far as the data set, which is not there
    assert "nls data everyday-objects" in advised.line


def test_a_single_run_takes_no_options_of_a_grid(nls: Nls, tmp_path: Path) -> None:
    ended = nls("train", "--out", str(tmp_path / "run"), "--seeds", "3", "--finished")
    assert ended.status == 2
    assert "['seeds', 'finished'] belong to --grid and --family; a single run" in ended.line
    aberrant = nls("train", "--out", str(tmp_path / "run"), "--aberrations")
    assert aberrant.status == 2
    assert "['aberrations'] belong to --grid and --family" in aberrant.line


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
    ("error", "status", "line"),
    [
        (NLSLabError("first\n  second"), 1, "nls: first second"),
        (PermissionError(13, "denied", "/x"), 1, "nls: [Errno 13] denied: '/x'"),
        (Interrupted(15, "saved in epoch 1"), 143, "nls: stopped by SIGTERM; saved in epoch 1"),
        (Interrupted(2, "saved in epoch 1"), 130, "nls: stopped by SIGINT; saved in epoch 1"),
        (KeyboardInterrupt(), 130, "nls: stopped by SIGINT"),
        (NLSLabError("[bold]long[/bold] " * 50), 1, ("nls: " + "[bold]long[/bold] " * 50).strip()),
    ],
)
def test_failures_are_one_line_and_stops_tell_their_signal(
    error: BaseException, status: int, line: str, nls: Nls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(listing, "available", fail)
    ended = nls("models")
    assert (ended.status, ended.line) == (status, line)


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

    def run(*_: Any, device: torch.device, **__: Any) -> Position:
        got.append(device)
        return Position(rows=[{"val_ece": 0.0}])

    monkeypatch.setattr(loop, "run", run)
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
    request = AnalysisRequest(TINY, epsilons=(1 / 255, 8 / 255), flip_point=True)
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
        (["--epsilons", "none"], "a report shows attacks, got no strengths"),
        (["--epsilons", "1,x"], "epsilons must be comma-separated numbers in 1/255"),
        (["--epsilons", "300"], "300/255"),
        (["--cam", "magic"], "unknown cam 'magic'"),
        (["--more", "tiny/none"], "tiny/none"),
        (["--target", "Zebra"], "unknown class 'Zebra'"),
        (["--target", "d", "--attack", "gaussian"], "an attack that can aim at a class"),
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


def test_compare_without_models_takes_the_familys_own_pair(nls: Nls, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(picture_bytes())
    for given in ((), ("--candidate", TINY[1])):
        asked = json.loads(nls("compare", str(picture), *given, "--json").out)["request"]
        assert asked["models"] == list(TINY)
    ended = nls("compare", str(picture), "--baseline", "none/ce-zero")
    assert ended.status == 2
    assert "unknown model 'none/ce-zero'" in ended.line


def test_batch_writes_a_report_or_numbers(nls: Nls, tmp_path: Path) -> None:
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    (folder / "one.png").write_bytes(picture_bytes())
    (folder / "bad.png").write_bytes(b"bad")
    for name, sign in (("b.html", "Wilson intervals"), ("b.csv", "one.png,a,tiny/ce-zero")):
        ended = nls("batch", str(folder.parent), "--output", str(tmp_path / name))
        assert ended.status == 0
        assert "not read: bad.png: expected an image file" in ended.err
        assert sign in (tmp_path / name).read_text(encoding="utf-8")
    assert nls("batch", str(tmp_path / "nowhere")).status == 2
