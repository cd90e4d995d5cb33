"""Training runs side by side, each in a process of its own that stops when this one does."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nls_core import files
from nls_core.errors import CheckpointError, Interrupted, NLSLabError
from nls_core.families.recipe import Recipe
from nls_core.settings import Settings
from nls_core.training import checkpoints
from nls_core.training.checkpoints import DIVERGED, LAST, LOG
from nls_core.training.options import Options, StageProgress
from nls_core.training.processes import stop_signals

POLL = 0.2  # seconds between looks at the runs
PATIENCE = 60.0  # seconds for a run to save and stop


@dataclass(frozen=True)
class Job:
    """One training run and its folder."""

    recipe: Recipe
    out: Path

    def epochs_done(self) -> int:
        """Epochs in the log."""
        try:
            with (self.out / LOG).open(encoding="utf-8") as file:
                return sum(1 for _ in csv.DictReader(file))
        except OSError:
            return 0

    def finished(self) -> bool:
        """Whether there is nothing left to train.

        Raises:
            CheckpointError: the folder holds a run of another recipe, or a damaged one.
        """
        if (self.out / LAST).exists():
            checkpoints.read(self.out / LAST, self.recipe)
        return self.epochs_done() >= self.recipe.epochs or self.diverged()

    def diverged(self) -> bool:
        """Whether this very run ended with a loss that is not finite."""
        try:
            record = files.read_json(self.out / DIVERGED)
        except CheckpointError:
            return False
        made = record.get("recipe")
        return isinstance(made, dict) and self.recipe.allows(made)

    def command(self) -> list[str]:
        """The command that trains it, in a process of its own."""
        options: list[str] = []
        given = {k: v for k, v in self.recipe.to_dict().items() if v is not None}
        for key, value in given.items():
            name = key.replace("_", "-")
            flag = [f"--{name}" if value else f"--no-{name}"]
            options += flag if isinstance(value, bool) else [f"--{name}", str(value)]
        return [sys.executable, "-m", "nls_core", "train", *options, "--out", str(self.out)]


@dataclass(frozen=True)
class Run:
    """A job that trains now; its standard error goes to the file `errors`."""

    job: Job
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def failure(self) -> list[str]:
        """The last errors of an ended run, if it failed; divergence is a result, not a failure."""
        if self.process.returncode == 0 or self.job.diverged():
            return []
        self.errors.seek(0)
        return [f"{self.job.out}: {self.errors.read().decode(errors='replace').strip()[-500:]}"]


def start(job: Job, env: Mapping[str, str], errors: IO[bytes]) -> Run:
    """Train a job in a process of its own, from where it stands."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [*job.command(), "--resume", "--quiet"],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    return Run(job, process, errors)


def stop(runs: Sequence[Run]) -> None:
    """Ask runs to save and stop; kill those that do not."""
    for run in runs:
        run.process.terminate()
    for run in runs:
        try:
            run.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            run.process.kill()
            run.process.wait()


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    progress: Callable[[int], None],
    *,
    settings: Settings | None = None,
) -> None:
    """Train what is not yet finished, `workers` at a time, one thread each.

    Args:
        jobs: finished and diverged ones are passed over.
        workers: how many processes train side by side.
        progress: called several times a second with the epochs done by all jobs.
        settings: where the processes find data and on which device they train; None leaves it
            to the environment.

    Raises:
        NLSLabError: a run failed; the others are trained before, and the message ends with
            its last errors. A diverged run is no failure: ask `Job.diverged`.
        CheckpointError: a folder holds a run of another recipe.
        Interrupted: Ctrl-C or SIGTERM came; the runs have saved and stopped.
    """
    waiting = [job for job in jobs if not job.finished()]
    failed = _run_all(waiting, workers, _environment(settings), lambda: progress(_done(jobs)))
    if failed:
        raise NLSLabError("a run failed: " + "; ".join(failed))
    progress(_done(jobs))


def run_stage(
    stage: str,
    jobs: Sequence[Job],
    settings: Settings,
    options: Options,
    progress: StageProgress,
) -> None:
    """`run_jobs` of what is not finished, unless the options say that nothing is trained.

    `progress` is called with the stage, the epochs done and the epochs in all.
    """
    total = sum(job.recipe.epochs for job in jobs)
    if not options.finished:
        run_jobs(jobs, options.jobs, lambda done: progress(stage, done, total), settings=settings)


def _environment(settings: Settings | None) -> dict[str, str]:
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    if settings is None:
        return one_thread
    return one_thread | {"NLS_DATA_DIR": str(settings.data_dir), "NLS_DEVICE": settings.device}


def _done(jobs: Sequence[Job]) -> int:
    return sum(job.epochs_done() for job in jobs)


def _run_all(
    jobs: Sequence[Job], workers: int, env: Mapping[str, str], look: Callable[[], None]
) -> list[str]:
    """Train all jobs, calling `look` every `POLL` seconds; why runs failed."""
    waiting, running = list(jobs), list[Run]()
    failed: list[str] = []
    with stop_signals() as stopped, ExitStack() as stack:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    errors = stack.enter_context(tempfile.TemporaryFile())  # a pipe could fill up
                    running.append(start(waiting.pop(0), env, errors))
                ended = [run for run in running if run.process.poll() is not None]
                running = [run for run in running if run not in ended]
                # asked first: a run that Ctrl-C ended as well has not failed
                if number := stopped():
                    raise Interrupted(number, "the runs are saved; the same command goes on")
                for run in ended:
                    failed += run.failure()
                look()
                time.sleep(POLL)
        finally:
            stop(running)
    return failed
