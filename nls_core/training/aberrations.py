"""`nls train --grid FAMILY --aberrations`: the declared runs on aberrant data, and their figures.

What is trained, chosen and compared was written down in docs/rules.md before any run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nls_core import files
from nls_core.data import datasets
from nls_core.errors import CheckpointError
from nls_core.evidence import aberrations, commands, report, stored_runs
from nls_core.evidence.measure import predict
from nls_core.evidence.parts import data_digest
from nls_core.families import Aberrations, Family
from nls_core.families.recipe import with_overrides
from nls_core.metrics import calibration
from nls_core.settings import Settings
from nls_core.training import checkpoints, grid, loop
from nls_core.training.checkpoints import LAST
from nls_core.training.jobs import Job, run_stage
from nls_core.training.options import Options, StageProgress, declared, quiet
from nls_core.training.publish import chosen_rates

FOLDER = "aberrations"  # in the runs of a family


@dataclass(frozen=True)
class AberrantJob:
    """A run, and where its figures belong."""

    condition: str
    cell: str
    seed: int
    job: Job


@dataclass(frozen=True)
class Split:
    """The clean training and test split of a data set."""

    train: datasets.Data
    test: datasets.Data

    @cached_property
    def digest(self) -> str:
        """Of all images and labels."""
        return data_digest(self.train, self.test)


def search_jobs(family: Family, declaration: Aberrations, runs: Path) -> list[Job]:
    """The search of the rates that the family's own search has not, on clean data."""
    return grid.search_jobs(replace(family, rates=declaration.rates), runs)


def jobs_of(
    family: Family, declaration: Aberrations, rates: Mapping[str, float], runs: Path
) -> list[AberrantJob]:
    """All runs, seed by seed, so that an early stop leaves whole sets."""
    return [
        AberrantJob(
            condition,
            f"{loss}-zero",
            seed,
            Job(
                with_overrides(
                    family.recipe,
                    loss=loss,
                    lr=rates[loss],
                    epochs=declaration.epochs,
                    subset=declaration.subset,
                    seed=seed,
                    **{**family.fixed.get(loss, {}), **changes},
                ),
                runs / family.name / FOLDER / _slug(condition) / loss / f"seed{seed}",
            ),
        )
        for seed in range(declaration.seeds)
        for condition, changes in declaration.conditions.items()
        for loss in (*declaration.losses, *declaration.rates)
    ]


def _slug(condition: str) -> str:
    return condition.replace(" %", "").replace(" ", "-")


def train(
    family: Family, settings: Settings, options: Options, progress: StageProgress = quiet
) -> dict[str, Any]:
    """Search, train and measure; what is finished is not done again.

    Args:
        family: one that declares aberrations.
        settings: where models and data are; `search.json` of the family gives its rates.
        options: `runs`, `jobs`, `finished` and `download` are honoured.
        progress: called with the stage, and the epochs or runs done and in all.

    Returns:
        The record that is written to aberrations.json in the family's folder.

    Raises:
        InvalidInput: see `options.declared`.
        CheckpointError: the family's search is missing, or nothing is finished.
        NLSLabError: a run failed; and as `run_jobs`.
    """
    declaration = declared(family.aberrations, "aberrations", family, options)
    data = _clean(family, settings, options)
    own = chosen_rates(family, declaration.losses, settings.models_dir)
    searching = search_jobs(family, declaration, options.runs)
    run_stage("learning-rate search", searching, settings, options, progress)
    searched = grid.best_rates(replace(family, rates=declaration.rates), searching)
    rates = own | searched.chosen
    jobs = jobs_of(family, declaration, rates, options.runs)
    training = [each.job for each in jobs]
    run_stage("training on aberrant data", training, settings, options, progress)
    record = {
        **_basis(family, declaration, data),
        "rates": rates,
        "search": {"tried": searched.tried, "diverged": searched.diverged},
        "created_with": stored_runs.created_with(),
        **_measured(declaration, jobs, data, settings.torch_device(), progress),
    }
    if not any(each["cells"] for each in record["conditions"].values()):
        raise CheckpointError(
            f"there is no finished run in {options.runs}; "
            f"`{commands.aberrations(family.name)}` makes them"
        )
    files.write_json(settings.models_dir / family.name / aberrations.FILE, record)
    return record


def _clean(family: Family, settings: Settings, options: Options) -> Split:
    name, folder = family.recipe.dataset, settings.data_dir
    return Split(
        datasets.load(name, folder, "train", download=options.download),
        datasets.load(name, folder, "test", download=options.download),
    )


def _basis(family: Family, declaration: Aberrations, data: Split) -> dict[str, Any]:
    """What the figures of the record rest on."""
    return {
        "schema": 1,
        "command": commands.aberrations(family.name),
        "data": {
            "test_images": len(data.test),
            "epochs": declaration.epochs,
            "subset": declaration.subset or 1.0,
            "bins": calibration.BINS,
            "resamples": report.RESAMPLES,
        },
        "groups": {name: list(each) for name, each in declaration.groups.items()},
    }


def _measured(
    declaration: Aberrations,
    jobs: Sequence[AberrantJob],
    data: Split,
    device: torch.device,
    progress: StageProgress,
) -> dict[str, Any]:
    """`conditions` of the record, without cells where nothing is finished, and `diverged` runs."""
    found: dict[str, Any] = {}
    whole = [each for each in jobs if each.job.finished()]
    diverged = [f"{e.condition}: {e.cell}, seed {e.seed}" for e in whole if e.job.diverged()]
    whole = [each for each in whole if not each.job.diverged()]
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress("measuring on clean test images", done, 2 * len(whole))

    for condition, changes in declaration.conditions.items():
        logits: dict[str, dict[int, Tensor]] = {}
        for each in whole:
            if each.condition == condition:
                answers = _answers(each.job, data, device)
                logits.setdefault(each.cell, {})[each.seed] = answers
                count(1)
        cells = aberrations.cells(
            logits, data.test.labels, resamples=report.RESAMPLES, progress=count
        )
        found[condition] = dict(changes) | {"cells": cells}
    return {"conditions": found, "diverged": diverged}


def _answers(job: Job, data: Split, device: torch.device) -> Tensor:
    """(N, K) logits of the last epoch's network; kept in the run's folder under the data's digest.

    The last epoch, since a noisy validation split should choose nothing.
    """
    path = job.out / f"test-{data.digest}.npz"
    if not path.exists():
        state = checkpoints.read(job.out / LAST, job.recipe)
        # as it was trained: normalized by the statistics of its own training images
        model = loop.make_model(job.recipe, loop.parts_of(data.train, job.recipe)[0])
        model.load_state_dict(state["model"])
        logits = predict(model.to(device), data.test.images)
        shifted = (logits - logits.amax(1, keepdim=True)).numpy()
        files.write_arrays(path, logits=shifted.astype(np.float16))
    return torch.from_numpy(files.read_arrays(path)["logits"].astype(np.float32))
