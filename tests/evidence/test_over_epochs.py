"""Calibration over the epochs: what is read, averaged and said is what the files hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nls_core import files
from nls_core.errors import CheckpointError
from nls_core.evidence import findings, over_epochs, verdicts
from nls_core.settings import Settings
from nls_core.views import run_charts


def row(epoch: int, accuracy: float, ece: float, nll: float, confidence: float) -> dict[str, Any]:
    figures = {"val_accuracy": accuracy, "val_ece": ece, "val_nll": nll}
    return {"epoch": float(epoch), "val_confidence": confidence} | figures


def keep_run(folder: Path, family: str, cell: str, seed: int, curve: list[dict[str, Any]]) -> None:
    files.write_json(folder / family / "raw" / cell / f"seed{seed}.json", {"curve": curve})


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    for seed, ece in enumerate((0.02, 0.04)):
        curve = [row(1, 0.8, ece, 0.5, 0.81), row(2, 0.9, 2 * ece, 0.6, 0.97)]
        keep_run(tmp_path, "fashion", "ce-zero", seed, curve)
    keep_run(tmp_path, "photos", "nls-zero", 0, [])  # of a version that kept no curve
    plan = {"epochs": 2, "renderings": 1}
    rows = [row(1, 0.5, 0.1, 2.0, 0.4), row(2, 0.6, 0.05, 1.5, 0.65)]
    losses = {"nls": {"plan": plan, "curve": rows}}
    files.write_json(tmp_path / "photos" / over_epochs.REGIME, {"losses": losses})
    return tmp_path


def test_seeds_are_averaged_and_families_follow_each_other(kept: Path) -> None:
    first, second = over_epochs.read(kept)
    assert (first.title, first.loss) == ("fashion: 40 epochs", "ce")
    assert [each["val_ece"] for each in first.rows] == pytest.approx([0.03, 0.06])
    assert first.best["epoch"] == 1
    assert second.title == "photos: 2 epochs, 1 rendering of each object"
    assert second.best is second.rows[1]


def test_the_sentence_and_the_table_have_the_same_figures(kept: Path) -> None:
    courses = over_epochs.read(kept)
    said = over_epochs.sentence(courses)
    assert "`ce`: 3.00 % at epoch 1, 6.00 % at the last" in said
    assert "+7.00 points above its accuracy" in said
    _, *rows = over_epochs.table(courses)
    assert rows[1] == ["fashion: 40 epochs", "ce", "2 (last)", "90.00", "6.00", "0.600", "+7.00"]
    assert [each[2] for each in rows[2:]] == ["2 (lowest NLL)", "2 (last)"]


def test_long_training_is_spoken_of_only_where_it_is_shown(kept: Path) -> None:
    courses = over_epochs.read(kept)
    assert "Beside them stands long training" in over_epochs.sentence(courses)
    (kept / "photos" / over_epochs.REGIME).unlink()
    assert "long training" not in over_epochs.sentence(over_epochs.read(kept))


def test_the_chart_has_a_plot_a_training_and_a_star_a_line(kept: Path) -> None:
    courses = over_epochs.read(kept)
    figure = run_charts.over_epochs(courses)
    assert [note.text for note in figure.layout.annotations] == [each.title for each in courses]
    lines, stars = figure.data[::2], figure.data[1::2]
    assert [list(line.y) for line in lines] == [[r["val_ece"] for r in c.rows] for c in courses]
    assert [star.x[0] for star in stars] == [1, 2]


def test_only_the_document_that_is_given_courses_shows_them(kept: Path) -> None:
    evidence, heading = verdicts.read("fashion", Settings().models_dir), "## over-epochs"
    assert heading in findings.document(evidence, over_epochs.read(kept))
    assert heading not in findings.document(evidence)


def test_nothing_is_shown_where_nothing_is_kept(tmp_path: Path) -> None:
    assert over_epochs.read(tmp_path) == []


def test_a_damaged_file_is_named(kept: Path) -> None:
    (kept / "photos" / over_epochs.REGIME).write_text("{")
    with pytest.raises(CheckpointError, match="regime"):
        over_epochs.read(kept)
