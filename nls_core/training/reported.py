"""Runs that are reported beside a family's cells: what is trained of them, and what counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from nls_core.errors import CheckpointError
from nls_core.settings import Settings
from nls_core.training.jobs import Job, run_stage
from nls_core.training.options import Options, StageProgress


class Reported(Protocol):
    """A run with a name, which `str` gives, and a file of raw results in their folder."""

    @property
    def job(self) -> Job:
        """What is trained."""
        ...

    def place(self, raw: Path) -> Path:
        """Of its raw results."""
        ...


R = TypeVar("R", bound=Reported)


@dataclass(frozen=True)
class Made(Generic[R]):
    """`finished` are to be measured, `counted` have raw results then; names of the `diverged`."""

    finished: list[R]
    counted: list[R]
    diverged: list[str]


def run_reported(
    stage: str,
    jobs: Sequence[R],
    settings: Settings,
    options: Options,
    progress: StageProgress,
    *,
    raw: Path,
    diverged: Collection[str],
    command: str,
) -> Made[R]:
    """Train what is not finished, as `run_stage`; with `missing` only what has no raw results.

    Args:
        stage, settings, options, progress: as `run_stage`.
        jobs: all that are declared.
        raw: the folder of their raw results.
        diverged: names of those on record, which are not tried again.
        command: what makes them.

    Raises:
        CheckpointError: there is not a finished one.
        NLSLabError: a run failed; and as `run_jobs`.
    """
    kept = [each for each in jobs if options.missing and each.place(raw).exists()]
    todo = [each for each in jobs if each not in kept and str(each) not in diverged]
    run_stage(stage, [each.job for each in todo], settings, options, progress)
    fallen = [each for each in todo if each.job.diverged()]
    finished = [each for each in todo if each.job.finished() and each not in fallen]
    counted = [each for each in jobs if each in kept or each in finished]
    if not counted:
        raise CheckpointError(f"there is no finished run in {options.runs}; `{command}` makes them")
    names = {*diverged, *map(str, fallen)}
    return Made(finished, counted, [str(each) for each in jobs if str(each) in names])
