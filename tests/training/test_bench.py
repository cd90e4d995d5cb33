"""Both ways of the benchmark train; their times are nobody's pass or fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nls_core.training.bench import epochs
from tests.helpers.steps import RECIPE


@pytest.mark.parametrize("amp", [False, True])
def test_both_ways_train_on_the_same_images(amp: bool, tmp_path: Path) -> None:
    both = epochs(tmp_path, replace(RECIPE, amp=amp), images=40)
    assert both.images == 32  # 36 are not held out, in whole batches of 8
    assert both.amp is amp
    assert both.aim == pytest.approx(0.4 if amp else 2 / 3)
    both.ours()
    both.ours()  # as often as one likes
    network = both.plain()
    assert isinstance(network, torch.nn.Module)
    assert network.training
