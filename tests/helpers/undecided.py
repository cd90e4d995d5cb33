"""One of two torchrun processes, whose clocks disagree on autocast; writes what each settled on."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from nls_core.training import loop
from nls_core.training.processes import processes
from tests.helpers.steps import separable
from tests.training.test_precision import OPEN, clock

if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with processes() as rank:
        trainer = loop.Trainer(OPEN, out, separable())
        trainer.start(False, clock(0.01, 0.02 if rank else 0.005), lambda line: None)
        (out / f"rank{rank}").write_text(str(trainer.recipe.amp))
        dist.barrier()
        next(trainer.epoch())
        trainer.save()
