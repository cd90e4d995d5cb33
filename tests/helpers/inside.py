"""Training in the test's own process, instead of the processes that test_grid.py tries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from nls_core.data import datasets
from nls_core.training import jobs, loop
from nls_core.training.jobs import Job
from tests.helpers.steps import separable


def train_inside(patch: pytest.MonkeyPatch) -> list[Path]:
    """Register `steps.separable` and train there what is not finished; the folders of these runs.

    The list grows with each run. Starting a process costs more than the run itself.
    """
    made: list[Path] = []

    def run(given: Sequence[Job], _: int, progress: Callable[[int], None], **__: Any) -> None:
        for job in given:
            if not job.finished():
                loop.run(job.recipe, job.out, separable(), device=torch.device("cpu"))
                made.append(job.out)
        progress(sum(job.epochs_done() for job in given))

    patch.setitem(datasets.DATASETS, "separable", lambda *_: separable())
    patch.setattr(jobs, "run_jobs", run)
    return made
