"""`nls verify`: agrees with what the same weights gave, and says what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nls_core.data import datasets
from nls_core.evidence import collect, stored_runs
from nls_core.evidence.collect import Store
from nls_core.evidence.parts import PARTS
from nls_core.settings import Settings
from tests.conftest import TINY
from tests.helpers.command import Nls, noise_data
from tests.helpers.evidence import hurry


@pytest.fixture(scope="module")
def measured(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models with raw results of their own; tests do not write to them."""
    folder = tmp_path_factory.mktemp("verify")
    models = Path(shutil.copytree(models_dir, folder / "models"))
    settings = Settings(models_dir=models, data_dir=folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        patch.setitem(datasets.DATASETS, "fashion-mnist", noise_data)
        group = collect.subjects(TINY, settings)
        for each in collect.gather(group, list(PARTS), Store(folder / "store")).values():
            stored_runs.write(
                each, group[TINY[0]].test.labels, [], models / "tiny" / stored_runs.FOLDER
            )
    return models


@pytest.fixture
def committed(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them, and attacks as quick as those that made them."""
    hurry(monkeypatch)
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", noise_data)
    return Path(shutil.copytree(measured, tmp_path / "models"))


@pytest.fixture
def verify(nls: Nls, committed: Path, monkeypatch: pytest.MonkeyPatch) -> Nls:
    monkeypatch.setenv("NLS_MODELS_DIR", str(committed))
    return lambda *arguments: nls("verify", *arguments)


def test_the_same_weights_give_the_same_figures(verify: Nls) -> None:
    ended = verify("--family", "tiny")
    assert ended.status == 0, ended.err
    for name in TINY:
        assert f"{name}, seed 0" in ended.out
    rows = [line.strip("| ").split(" | ") for line in ended.out.splitlines() if "agrees" in line]
    assert len(rows) == 2 * 8  # every part of both models
    assert all(row[1] == row[2] for row in rows)  # all figures are identical


def test_a_figure_that_was_changed_is_named(verify: Nls, committed: Path) -> None:
    path = committed / "tiny" / stored_runs.FOLDER / "ce-zero" / "seed0.json"
    found = json.loads(path.read_text())
    found["metrics"]["accuracy"] += 0.1
    path.write_text(json.dumps(found))
    ended = verify(TINY[0], "--only", "clean")
    assert ended.status == 1
    assert "| differs |" in ended.out
    assert "tiny/ce-zero: metrics accuracy:" in ended.err
    assert "figures that differ from the committed results: 1" in ended.err
    assert verify(TINY[1], "--only", "clean").status == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--family", "none"), 1, "no models of none"),
        (("--only", "magic"), 2, "unknown part 'magic'"),
        (("photos/ce-zero",), 2, "measured out of fold"),
    ],
)
def test_wrong_use(verify: Nls, arguments: tuple[str, ...], status: int, words: str) -> None:
    ended = verify(*arguments)
    assert ended.status == status
    assert words in ended.line
