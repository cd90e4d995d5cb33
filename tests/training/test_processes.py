"""Two processes that torchrun starts: the steps of one, and one choice of precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nls_core.training import checkpoints, loop
from nls_core.training.checkpoints import LAST
from tests.helpers.launching import in_two_processes
from tests.helpers.steps import RECIPE, STEPS, separable
from tests.training.test_precision import OPEN


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What they left; see `tests.helpers.together`."""
    out = tmp_path_factory.mktemp("two")
    in_two_processes("tests.helpers.together", str(out))
    return out


def test_two_processes_take_the_steps_of_one(two: Path, tmp_path: Path) -> None:
    loop.run(RECIPE, tmp_path, separable(), max_steps=STEPS)
    folders = (tmp_path, two / "steps")
    one, other = (torch.load(folder / LAST, weights_only=True)["model"] for folder in folders)
    start = loop.make_model(RECIPE, separable()).state_dict()
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=1e-5)
    assert (one["net.head.weight"] - start["net.head.weight"]).abs().max() > 0.01


def test_two_processes_make_one_choice(two: Path) -> None:
    chosen = [(two / "choice" / f"rank{rank}").read_text() for rank in (0, 1)]
    assert chosen == ["False", "False"]  # one found it slower
    assert checkpoints.read(two / "choice" / LAST, OPEN)["recipe"]["amp"] is False
