"""A family of models by one command: learning-rate search, runs side by side, publication."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nls_core import datasets, train, zoo
from nls_core.evaluate import measure
from nls_core.jobs import Job, run_jobs
from nls_core.recipe import Recipe, with_overrides
from nls_core.settings import Settings
from nls_core.train import BEST, LOG
from nls_core.types import CheckpointError, Manifest, NLSLabError

SEARCH = "search.json"


@dataclass(frozen=True)
class Family:
    """What one family trains: cells, and the learning rates tried for each loss."""

    name: str
    recipe: Recipe  # shared by all cells
    rates: dict[str, tuple[float, ...]]  # loss -> learning rates of the search
    search_epochs: int
    paddings: tuple[str, ...] = ("zero", "partial")

    def cells(self) -> tuple[str, ...]:
        """The names `<loss>-<padding>` of all cells."""
        return tuple(f"{loss}-{padding}" for loss in self.rates for padding in self.paddings)


# nls train --grid fashion: 12 search runs of 6 epochs and 6 runs of 40, about 1.7 hours on one
# core of a small server (about 3,000 images a second); see docs/training.md for what came out.
GRIDS: dict[str, Family] = {
    "fashion": Family(
        "fashion",
        Recipe(),
        rates={
            "ce": (0.05, 0.1, 0.2, 0.4),
            "ls": (0.05, 0.1, 0.2, 0.4),
            "nls": (0.5, 1.0, 2.0, 4.0),
        },
        search_epochs=6,
    ),
}


def search_jobs(family: Family, runs: Path) -> list[Job]:
    """Short runs with the same schedule, zero padding and seed 1000, a loss and rate each."""
    return [
        Job(
            with_overrides(
                family.recipe, loss=loss, lr=rate, epochs=family.search_epochs, seed=1000
            ),
            runs / family.name / "search" / f"{loss}-lr{rate:g}",
        )
        for loss, rates in family.rates.items()
        for rate in rates
    ]


def choose_rates(family: Family, jobs: Iterable[Job], models_dir: Path) -> dict[str, float]:
    """Pick each loss's rate by validation accuracy after the search, and record the search.

    Raises:
        NLSLabError: every rate of a loss diverged.
    """
    tried: list[dict[str, Any]] = []
    diverged: list[dict[str, Any]] = []
    for job in jobs:
        if job.diverged():
            diverged.append({"loss": job.recipe.loss, "lr": job.recipe.lr})
            continue
        last = _rows(job.out / LOG)[-1]
        keys = ("val_accuracy", "val_nll", "val_ece")
        row = {"loss": job.recipe.loss, "lr": job.recipe.lr} | {k: float(last[k]) for k in keys}
        tried.append(row)
    lost = [loss for loss in family.rates if loss not in {row["loss"] for row in tried}]
    if lost:
        raise NLSLabError(f"every learning rate diverged for {lost}; give lower rates in GRIDS")
    chosen = {
        loss: float(max((r for r in tried if r["loss"] == loss), key=_accuracy)["lr"])
        for loss in family.rates
    }
    record = {
        "schema": 1,
        "command": f"nls train --grid {family.name}",
        "criterion": "validation accuracy at the end of the short run",
        "epochs": family.search_epochs,
        "tried": tried,
        "diverged": diverged,
        "chosen": chosen,
    }
    path = models_dir / family.name / SEARCH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return chosen


def _accuracy(row: dict[str, Any]) -> float:
    return float(row["val_accuracy"])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cell_jobs(family: Family, rates: dict[str, float], runs: Path, seeds: int) -> list[Job]:
    """The runs of all cells, seed by seed, so that an early stop leaves whole grids."""
    return [
        Job(
            with_overrides(family.recipe, loss=loss, padding=padding, lr=rates[loss], seed=seed),
            runs / family.name / f"{loss}-{padding}" / f"seed{seed}",
        )
        for seed in range(seeds)
        for loss in family.rates
        for padding in family.paddings
    ]


def publish(
    job: Job, family: Family, settings: Settings, data: Sequence[datasets.Data]
) -> Manifest:
    """Store a finished run as float16, measure what was stored on the test split, write the card.

    `data` is (train, test), as `datasets.load` gives them.
    """
    full, test = data
    index = datasets.divide(len(full))
    state = train.load_checkpoint(job.out / BEST, job.recipe)
    model = train.make_model(job.recipe, full.take(index[0]))
    model.load_state_dict(state["model"])
    manifest = _manifest(job, family, model, full)
    with tempfile.TemporaryDirectory() as scratch:  # so that no model without figures is seen
        zoo.store(model.net, manifest, Path(scratch))
        stored, manifest = zoo.load(manifest.id, Path(scratch), settings.torch_device())
    measured = measure(stored, full.take(index[1]), test)
    manifest = zoo.with_measured(
        manifest, measured.metrics, measured.temperature, measured.reliability
    )
    manifest = zoo.store(stored.net, manifest, settings.models_dir)
    shutil.copy(job.out / LOG, zoo.folder_of(manifest.id, settings.models_dir) / "training.csv")
    return manifest


def _manifest(job: Job, family: Family, model: Any, data: datasets.Data) -> Manifest:
    recipe = job.recipe
    parameters = {"smoothing": recipe.smoothing, "gamma": recipe.gamma}
    if recipe.loss == "ce":
        parameters.pop("smoothing")
    rows = _rows(job.out / LOG)
    best = max(rows, key=_accuracy)
    model_id = f"{family.name}/{recipe.loss}-{recipe.padding}"
    return Manifest(
        id=model_id,
        arch=recipe.arch,
        padding=recipe.padding,
        loss=recipe.loss,
        loss_parameters=parameters,
        classes=data.classes,
        channels=data.images.shape[1],
        input_size=data.images.shape[-1],
        mean=tuple(round(float(v), 4) for v in model.mean.flatten()),
        std=tuple(round(float(v), 4) for v in model.std.flatten()),
        preprocess=data.preprocess,
        temperature=1.0,
        sha256="",
        seed=recipe.seed,
        recipe=asdict(recipe)
        | {
            "training_command": f"nls train --grid {family.name}",
            "best_epoch": int(best["epoch"]),
            "validation_accuracy": float(best["val_accuracy"]),
            "training_seconds": round(float(rows[-1]["seconds"]), 1),
        },
        command=f"nls evaluate {model_id}",
        created_with={name: version(name) for name in ("nls-lab", "torch", "torchvision", "numpy")},
    )


def train_family(
    family: Family,
    settings: Settings,
    *,
    runs: Path,
    workers: int = 1,
    seeds: int = 1,
    download: bool = False,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> list[Manifest]:
    """Search, train and publish a family; what is finished is not done again.

    Args:
        family: an entry of `GRIDS`.
        settings: where models and data are.
        runs: folder of the runs.
        workers: training processes side by side.
        seeds: seeds per cell, from 0; the first is published.
        download: fetch a missing data set, where its source allows.
        report: called with the stage, the epochs done and the epochs in all.

    Raises:
        NLSLabError: a run failed or diverged; and as `run_jobs`.
    """
    full = datasets.load(family.recipe.dataset, settings.data_dir, "train", download=download)
    searched = search_jobs(family, runs)
    total = sum(job.recipe.epochs for job in searched)
    run_jobs(
        searched,
        workers,
        lambda done: report("learning-rate search", done, total),
        settings=settings,
    )
    rates = choose_rates(family, searched, settings.models_dir)
    jobs = cell_jobs(family, rates, runs, seeds)
    all_epochs = sum(job.recipe.epochs for job in jobs)
    run_jobs(jobs, workers, lambda done: report("training", done, all_epochs), settings=settings)
    diverged = [str(job.out) for job in jobs if job.diverged()]
    if diverged:
        raise NLSLabError(f"these runs diverged at the rate that the search chose: {diverged}")
    test = datasets.load(family.recipe.dataset, settings.data_dir, "test", download=download)
    first = [job for job in jobs if job.recipe.seed == 0]
    if not all((job.out / BEST).exists() for job in first):
        raise CheckpointError(f"runs are missing in {runs}")
    return [publish(job, family, settings, (full, test)) for job in first]
