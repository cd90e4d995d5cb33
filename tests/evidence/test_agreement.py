"""Figures of two measurements: what is compared, and what counts as agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nls_core import zoo
from nls_core.errors import CheckpointError
from nls_core.evidence import agreement, stored_runs
from nls_core.settings import Settings
from tests.conftest import tiny_manifest

FOUND: dict[str, Any] = {
    "metrics": {"images": 100, "accuracy": 0.9, "mce": 0.2, "error_auroc": None},
    "temperature": 1.2,
    "shift": {"blur": [{"severity": 1.0, "accuracy": 0.8}]},
    "robust": {"fgsm": [0.5, 0.25], "transfer": [0.4, 0.1], "worst": [0.3, 0.0]},
    "masking": {"verdict": "no sign", "signs": [], "far": 0.0},
    "curve": [{"epoch": 1.0}],
}


def changed(part: str, **values: Any) -> dict[str, Any]:
    return FOUND | {part: FOUND[part] | values}


def test_all_numbers_but_those_that_hang_on_other_models() -> None:
    assert agreement.figures(FOUND) == {
        ("metrics", "images"): 100, ("metrics", "accuracy"): 0.9, ("metrics", "mce"): 0.2,
        ("temperature",): 1.2,
        ("shift", "blur", "1", "severity"): 1.0, ("shift", "blur", "1", "accuracy"): 0.8,
        ("robust", "fgsm", "1"): 0.5, ("robust", "fgsm", "2"): 0.25, ("masking", "far"): 0.0,
    }  # fmt: skip


def test_the_same_figures_are_identical() -> None:
    rows, off = agreement.compare(FOUND, FOUND)
    assert off == []
    assert rows[1:] == [
        ["metrics", "3", "3", "0", "agrees"],
        ["temperature", "1", "1", "0", "agrees"],
        ["shift", "2", "2", "0", "agrees"],
        ["robust", "2", "2", "0", "agrees"],
        ["masking", "1", "1", "0", "agrees"],
    ]


@pytest.mark.parametrize(
    ("now", "row", "lines"),
    [
        (changed("metrics", accuracy=0.901), ["metrics", "3", "2", "0.001", "agrees"], 0),
        (changed("metrics", accuracy=0.91), ["metrics", "3", "2", "0.01", "differs"], 1),
        (changed("metrics", mce=0.24), ["metrics", "3", "2", "0.04", "agrees"], 0),
        (changed("metrics", accuracy=float("nan")), ["metrics", "3", "2", "nan", "differs"], 1),
        (changed("robust", fgsm=[0.52, 0.2]), ["robust", "2", "0", "0.05", "differs"], 1),
    ],
)
def test_what_counts_as_agreement(now: dict[str, Any], row: list[str], lines: int) -> None:
    rows, off = agreement.compare(now, FOUND)
    assert row in rows
    assert len(off) == lines


def test_a_figure_that_is_off_is_named_with_both_values() -> None:
    _, (line,) = agreement.compare(changed("metrics", accuracy=0.95), FOUND)
    assert line == ("metrics accuracy: 0.9 is committed, 0.95 was measured; 0.002 would be allowed")


def test_parts_that_were_not_measured_are_not_compared() -> None:
    rows, off = agreement.compare({"temperature": 1.2}, FOUND)
    assert [row[0] for row in rows[1:]] == ["temperature"]
    assert off == []


def test_committed_results_are_of_the_shipped_weights() -> None:
    models_dir = Settings().models_dir
    for model_id in zoo.available(models_dir):
        if model_id.startswith("fashion/"):
            kept = agreement.read(zoo.read_manifest(model_id, models_dir), models_dir)
            assert agreement.figures(kept)["robust", "pgd", "5"] <= 1


def test_results_that_are_missing_or_of_other_weights_are_refused(tmp_path: Path) -> None:
    manifest = tiny_manifest("tiny/ce-zero")
    with pytest.raises(CheckpointError, match=r"seed0\.json is missing"):
        agreement.read(manifest, tmp_path)
    path = tmp_path / "tiny" / stored_runs.FOLDER / "ce-zero" / f"seed{manifest.seed}.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"sha256": "another"}')
    with pytest.raises(CheckpointError, match="is of other weights than tiny/ce-zero"):
        agreement.read(manifest, tmp_path)
