"""bf16 autocast by measurement: what the clock says is done, recorded and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from nls_core.families.recipe import Recipe
from nls_core.training import checkpoints, loop, precision
from nls_core.training.checkpoints import LAST
from nls_core.training.jobs import Job
from tests.helpers.command import Nls
from tests.helpers.steps import RECIPE, separable

OPEN = replace(RECIPE, amp=None, epochs=2, batch_size=16)
STEPS = 1 + precision.TIMED


def clock(plain: float, autocast: float) -> Callable[[], float]:
    """A clock by which a step takes `plain` seconds in float32 and `autocast` with autocast."""
    times: Iterator[float] = iter([0.0, plain] * STEPS + [0.0, autocast] * STEPS)
    return lambda: next(times)


@pytest.mark.parametrize(("plain", "autocast", "chosen"), [(0.02, 0.01, True), (0.01, 0.02, False)])
def test_the_choice_follows_the_clock_and_is_recorded(
    plain: float, autocast: float, chosen: bool, tmp_path: Path
) -> None:
    lines: list[str] = []
    timer = clock(plain, autocast)
    loop.run(OPEN, tmp_path, separable(), max_steps=1, clock=timer, log=lines.append)
    assert checkpoints.read(tmp_path / LAST, OPEN)["recipe"]["amp"] is chosen
    (line,) = lines
    assert f"going on with{'' if chosen else 'out'} autocast" in line
    assert f"{1000 * plain:.3g} ms in float32, {1000 * autocast:.3g} ms" in line


def test_a_resumed_run_keeps_the_choice_and_measures_nothing(tmp_path: Path) -> None:
    loop.run(OPEN, tmp_path, separable(), max_steps=1, clock=clock(0.02, 0.01))

    def never() -> float:
        raise AssertionError("measured again")

    loop.run(OPEN, tmp_path, separable(), resume=True, clock=never)
    assert checkpoints.read(tmp_path / LAST, OPEN)["recipe"]["amp"] is True
    assert Job(OPEN, tmp_path).finished()


@pytest.mark.parametrize("amp", [False, True])
def test_a_measured_run_is_bit_equal_to_one_with_that_choice(amp: bool, tmp_path: Path) -> None:
    fixed = replace(OPEN, amp=amp)
    timer = clock(*(0.02, 0.01) if amp else (0.01, 0.02))
    first = loop.run(OPEN, tmp_path / "open", separable(), clock=timer)
    second = loop.run(fixed, tmp_path / "fixed", separable())
    one, two = (torch.load(tmp_path / name / LAST, weights_only=True) for name in ("open", "fixed"))
    assert all(torch.equal(one["model"][key], value) for key, value in two["model"].items())
    assert one["recipe"] == two["recipe"] == fixed.to_dict()
    assert [row["val_nll"] for row in first.rows] == [row["val_nll"] for row in second.rows]


def test_few_steps_are_enough_where_a_step_takes_long() -> None:
    model = torch.nn.Linear(2, 1)
    times = count(step=10.0)  # 10 s pass between any two looks at the clock
    found = precision.measure(
        model, lambda m, amp: m(torch.ones(1, 2)).sum(), clock=lambda: next(times)
    )
    assert next(times) == 10.0 * 8  # two steps each way, two looks a step
    assert not found.amp  # no gain, no autocast
    assert model.weight.grad is None


def test_a_finished_run_with_either_choice_counts() -> None:
    for made in (True, False):
        assert OPEN.allows(replace(OPEN, amp=made).to_dict())
        assert not OPEN.allows(replace(OPEN, amp=made, lr=9.0).to_dict())
        assert not replace(OPEN, amp=not made).allows(replace(OPEN, amp=made).to_dict())


def test_a_diverged_run_with_a_measured_choice_is_known(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="not finite"):
        loop.run(replace(OPEN, lr=1e30), tmp_path, separable())
    assert Job(replace(OPEN, lr=1e30), tmp_path).diverged()
    assert not Job(replace(OPEN, lr=1e20), tmp_path).diverged()


def test_the_command_decides_by_default_and_says_so(nls: Nls, tmp_path: Path) -> None:
    options = "--dataset separable --arch smallresnet-8 --epochs 1 --batch-size 16 --quiet --out"
    ended = nls("train", *options.split(), str(tmp_path / "run"))
    assert ended.status == 0, ended.err
    measured, _ = ended.err.splitlines()
    assert "a step takes" in measured
    assert "--no-amp overrides" in measured
    assert Recipe().amp is None
