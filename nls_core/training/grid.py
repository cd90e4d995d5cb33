"""The protocol `split`: learning-rate search, runs side by side, publication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nls_core import files
from nls_core.data import datasets
from nls_core.errors import CheckpointError, NLSLabError
from nls_core.families import Family
from nls_core.families.recipe import with_overrides
from nls_core.settings import Settings
from nls_core.training.checkpoints import LOG
from nls_core.training.jobs import Job, run_stage
from nls_core.training.options import Options, StageProgress, quiet
from nls_core.training.publish import accuracy, rows, write_search
from nls_core.training.seeds import publish_seeds
from nls_core.types import Manifest

ABLATIONS = "ablations.json"
SHORT_SEED = 1000  # of searches and ablations, apart from the seeds of the cells
LAST_KEYS = ("val_accuracy", "val_ece", "val_nll", "val_confidence")


def search_jobs(family: Family, runs: Path) -> list[Job]:
    """Short runs with the same schedule, zero padding and seed 1000, a loss and rate each."""
    return [
        Job(
            with_overrides(
                family.recipe,
                loss=loss,
                lr=rate,
                epochs=family.search_epochs,
                seed=SHORT_SEED,
                **family.fixed.get(loss, {}),
            ),
            runs / family.name / "search" / f"{loss}-lr{rate:g}",
        )
        for loss, rates in family.rates.items()
        for rate in rates
    ]


@dataclass(frozen=True)
class Searched:
    """What a search came to: a row for each run, those that diverged, and loss -> its rate."""

    tried: list[dict[str, Any]]
    diverged: list[dict[str, Any]]
    chosen: dict[str, float]


def best_rates(family: Family, jobs: Sequence[Job]) -> Searched:
    """Pick each loss's rate by validation accuracy after the search.

    Raises:
        CheckpointError: a run of the search is not finished: a rate by half a run may be another.
        NLSLabError: every rate of a loss diverged.
    """
    missing = [job for job in jobs if not job.finished()]
    if missing:
        raise CheckpointError(
            f"the learning-rate search of {family.name} is not finished: {len(missing)} of "
            f"{len(jobs)} runs are missing, the first {missing[0].out}; `{family.command}` goes on"
        )
    tried: list[dict[str, Any]] = []
    diverged: list[dict[str, Any]] = []
    for job in jobs:
        if job.diverged():
            diverged.append({"loss": job.recipe.loss, "lr": job.recipe.lr})
            continue
        last = rows(job.out / LOG)[-1]
        keys = ("val_accuracy", "val_nll", "val_ece")
        row = {"loss": job.recipe.loss, "lr": job.recipe.lr} | {k: float(last[k]) for k in keys}
        tried.append(row)
    lost = [loss for loss in family.rates if loss not in {row["loss"] for row in tried}]
    if lost:
        raise NLSLabError(f"every learning rate diverged for {lost}; its family needs lower ones")
    chosen = {
        loss: float(max((r for r in tried if r["loss"] == loss), key=accuracy)["lr"])
        for loss in family.rates
    }
    return Searched(tried, diverged, chosen)


def choose_rates(family: Family, jobs: Sequence[Job], models_dir: Path) -> dict[str, float]:
    """`best_rates`, and record the search."""
    found = best_rates(family, jobs)
    write_search(
        family,
        models_dir,
        criterion="validation accuracy at the end of the short run",
        tried=found.tried,
        diverged=found.diverged,
        chosen=found.chosen,
    )
    return found.chosen


def ablation_jobs(family: Family, runs: Path) -> dict[str, list[Job]]:
    """Short runs with zero padding, by the name of their ablation; each run has its own folder."""
    short = with_overrides(family.recipe, epochs=family.search_epochs, seed=SHORT_SEED)
    return {
        name: [
            Job(
                with_overrides(short, **changes),
                runs / family.name / "ablation" / "-".join(f"{k}{v}" for k, v in changes.items()),
            )
            for changes in each
        ]
        for name, each in family.ablations.items()
    }


def record_ablations(family: Family, jobs: dict[str, list[Job]], models_dir: Path) -> None:
    """Write what the finished ablation runs ended with to ablations.json."""
    found = {
        name: [
            changes | {key: float(rows(job.out / LOG)[-1][key]) for key in LAST_KEYS}
            for changes, job in zip(family.ablations[name], each, strict=True)
            if job.finished() and not job.diverged()
        ]
        for name, each in jobs.items()
    }
    record = {
        "schema": 1,
        "command": family.command,
        "data": "validation split, at the end of the run",
        "epochs": family.search_epochs,
        "seed": SHORT_SEED,
        "ablations": found,
    }
    files.write_json(models_dir / family.name / ABLATIONS, record, indent=2)


def cell_jobs(family: Family, rates: dict[str, float], runs: Path, seeds: int) -> list[Job]:
    """The runs of all cells, seed by seed, so that an early stop leaves whole grids."""
    return [
        Job(
            with_overrides(
                family.recipe,
                loss=loss,
                padding=padding,
                lr=rates[loss],
                seed=seed,
                **family.fixed.get(loss, {}),
            ),
            runs / family.name / f"{loss}-{padding}" / f"seed{seed}",
        )
        for seed in range(max(family.seeds(cell, seeds) for cell in family.cells()))
        for loss, padding in family.pairs()
        if seed < family.seeds(f"{loss}-{padding}", seeds)
    ]


def train_family(
    family: Family, settings: Settings, options: Options, progress: StageProgress = quiet
) -> list[Manifest]:
    """Search, train, ablate and publish a family; what is finished is not done again.

    Of each cell the median seed is published.

    Args:
        family: an entry of `families.FAMILIES`.
        settings: where models and data are.
        options: all are honoured.
        progress: called with the stage, the epochs done and the epochs in all.

    Raises:
        CheckpointError: nothing is finished that could be published.
        NLSLabError: a run failed or diverged; and as `run_jobs`.
    """
    name, folder, runs = family.recipe.dataset, settings.data_dir, options.runs
    full = datasets.load(name, folder, "train", download=options.download)

    def train_all(jobs: Sequence[Job], stage: str) -> None:
        run_stage(stage, jobs, settings, options, progress)

    searched = search_jobs(family, runs)
    train_all(searched, "learning-rate search")
    rates = choose_rates(family, searched, settings.models_dir)
    jobs = cell_jobs(family, rates, runs, options.seeds)
    train_all(jobs, "training")
    diverged = [str(job.out) for job in jobs if job.diverged()]
    if diverged:
        raise NLSLabError(f"these runs diverged at the rate that the search chose: {diverged}")
    ablations = ablation_jobs(family, runs)
    train_all([job for each in ablations.values() for job in each], "ablations")
    if any(ablations.values()):
        record_ablations(family, ablations, settings.models_dir)
    test = datasets.load(name, folder, "test", download=options.download)
    whole = [job for job in jobs if job.finished()]
    if not whole:
        raise CheckpointError(f"there is no finished run in {runs}; `{family.command}` makes them")
    return publish_seeds(whole, family, settings, (full, test), runs)
