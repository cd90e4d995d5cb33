"""What is made of a cell's confidence without training it again."""

from __future__ import annotations

import torch

from nls_core.evidence import after_training
from nls_core.evidence.stored_runs import Run
from nls_core.metrics import calibration, conformal
from nls_core.metrics.recalibration import RECALIBRATIONS
from tests.helpers.predictions import draw


def runs(count: int) -> tuple[dict[int, Run], torch.Tensor]:
    """Two runs that are too sure, and labels."""
    z, labels = draw(count)
    return {seed: Run({}, (3 + seed) * z.float(), {}) for seed in (0, 1)}, labels


def test_figures_are_those_of_every_seed() -> None:
    made, labels = runs(400)
    found = after_training.of_cell(made, labels)
    assert set(found["recalibrated"]) == set(RECALIBRATIONS)
    assert set(found["sets"]) == set(conformal.SCORES)
    for part in ("recalibrated", "sets", "selective"):
        for figures in found[part].values():
            assert all(each["n"] == 2 and each["sd"] is not None for each in figures.values())
    plain = calibration.ece(made[0].logits.softmax(1), labels)
    assert found["recalibrated"]["temperature"]["ece"]["mean"] < plain / 2


def test_one_object_has_no_other_half() -> None:
    made, labels = runs(3)
    assert after_training.of_cell(made, labels, per=3) == {}
