"""What two processes do in one group, for torchrun: python -m tests.helpers.together OUT.

They take `STEPS` steps of `RECIPE` into OUT/steps. Then their clocks disagree on autocast, and each
writes what it settled on into OUT/choice.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from nls_core.training import loop
from nls_core.training.processes import processes
from tests.helpers.steps import RECIPE, STEPS, separable
from tests.training.test_precision import OPEN, clock


def choose(out: Path, rank: int) -> None:
    """Measure by a clock that tells each process something else, and train one step."""
    out.mkdir(exist_ok=True)
    trainer = loop.Trainer(OPEN, out, separable())
    trainer.start(False, clock(0.01, 0.02 if rank else 0.005), lambda line: None)
    (out / f"rank{rank}").write_text(str(trainer.recipe.amp))
    dist.barrier()
    next(trainer.epoch())
    trainer.save()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with processes() as own:  # a function each, so that no network outlives the group
        loop.run(RECIPE, Path(sys.argv[1]) / "steps", separable(), max_steps=STEPS)
        choose(Path(sys.argv[1]) / "choice", own)
