"""Whether bf16 autocast pays here: a few steps each way, on the run's own model and batch.

With bf16 instructions it about doubles the speed; a processor without them emulates each number,
and an epoch of seconds takes many minutes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Step = Callable[[nn.Module, bool], Tensor]
TIMED = 3  # steps each way; the fastest counts, so that one disturbed step decides nothing
PATIENCE = 0.5  # seconds each way, after which two steps are enough


@dataclass(frozen=True)
class Precision:
    """What was chosen and the seconds of the fastest step each way; `line` says so in words."""

    amp: bool
    plain: float
    autocast: float

    @property
    def line(self) -> str:
        """One line for the log."""
        return (
            f"a step takes {1000 * self.plain:.3g} ms in float32, {1000 * self.autocast:.3g} ms "
            f"with bf16 autocast: going on with{'' if self.amp else 'out'} autocast "
            f"(--amp or --no-amp overrides)"
        )


def measure(
    model: nn.Module, loss: Step, *, clock: Callable[[], float] = time.perf_counter
) -> Precision:
    """Time steps of a copy of `model` with and without autocast; the model stays as it is.

    Args:
        model: in training mode, on the device that will train it.
        loss: the scalar loss of a given model, under autocast or not.
        clock: seconds, for tests.
    """
    twin = copy.deepcopy(model)
    with torch.random.fork_rng():  # dropout draws, and the run's own draws stay as they would be
        plain, autocast = (_fastest(twin, loss, amp, clock) for amp in (False, True))
    return Precision(autocast < plain, plain, autocast)


def _fastest(model: nn.Module, loss: Step, amp: bool, clock: Callable[[], float]) -> float:
    seconds = []
    for _ in range(1 + TIMED):  # the first also makes kernels ready; the fastest leaves it out
        begin = clock()
        model.zero_grad(set_to_none=True)
        loss(model, amp).backward()  # type: ignore[no-untyped-call]
        seconds.append(clock() - begin)
        if len(seconds) > 1 and sum(seconds) > PATIENCE:
            break
    return min(seconds)
