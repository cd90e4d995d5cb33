"""`nls train --grid FAMILY --aberrations`: the declared runs on aberrant data, and their figures.

What is trained, chosen and compared was written down in docs/rules.md before any run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nls_core import files
from nls_core.data import datasets
from nls_core.errors import CheckpointError
from nls_core.evidence import aberrations, commands, report, stored_runs
from nls_core.evidence.aberrations import Answers, slug
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
from nls_core.training.reported import run_reported


def run_name(condition: str, cell: str, seed: int) -> str:
    """A run as people read of it."""
    return f"{condition}: {cell}, seed {seed}"


@dataclass(frozen=True)
class AberrantJob:
    """A run, and where its figures belong."""

    condition: str
    cell: str
    seed: int
    job: Job

    def __str__(self) -> str:
        return run_name(self.condition, self.cell, self.seed)

    def place(self, raw: Path) -> Path:
        """Of its raw results, in their folder."""
        return raw / slug(self.condition) / self.cell / f"seed{self.seed}.npz"


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
                runs / family.name / aberrations.FOLDER / slug(condition) / loss / f"seed{seed}",
            ),
        )
        for seed in range(declaration.seeds)
        for condition, changes in declaration.conditions.items()
        for loss in (*declaration.losses, *declaration.rates)
    ]


def train(
    family: Family, settings: Settings, options: Options, progress: StageProgress = quiet
) -> dict[str, Any]:
    """Search, train and measure; what is finished is not done again.

    Args:
        family: one that declares aberrations.
        settings: where models and data are; `search.json` of the family gives its rates.
        options: all but `seeds` are honoured.
        progress: called with the stage, and the epochs or runs done and in all.

    Returns:
        The record that is written to aberrations.json in the family's folder.

    Raises:
        InvalidInput: see `options.declared`.
        CheckpointError: the family's search is missing, or nothing is finished; or the runs that
            are not `missing` are of other settings than the declared ones.
        NLSLabError: a run failed; and as `run_jobs`.
    """
    declaration = declared(family.aberrations, "aberrations", family, options)
    data = _clean(family, settings, options)
    known = aberrations.read(family.name, settings.models_dir) if options.missing else {}
    basis = _basis(family, declaration, data) | _rates(family, known, settings, options, progress)
    _check_same(known, basis)
    raw = settings.models_dir / family.name / aberrations.FOLDER
    jobs = jobs_of(family, declaration, basis["rates"], options.runs)
    made = run_reported(
        "training on aberrant data",
        jobs,
        settings,
        options,
        progress,
        raw=raw,
        diverged=known.get("diverged", ()),
        command=commands.aberrations(family.name),
    )
    _check_kept(known, made.counted)
    count = _counter(progress, len(made.finished) + len(made.counted))
    _measure(made.finished, data, raw, settings.torch_device(), count)
    record = basis | {
        "created_with": stored_runs.created_with(),
        "conditions": _conditions(declaration, made.counted, raw, len(data.test), count),
        "diverged": made.diverged,
    }
    files.write_json(settings.models_dir / family.name / aberrations.FILE, record)
    return record


def _check_same(known: Mapping[str, Any], basis: Mapping[str, Any]) -> None:
    """Refuse to let runs join those of a record that were made with other settings."""
    if known and known["data"] != basis["data"]:
        raise CheckpointError(
            f"the runs of {aberrations.FILE} were made with {known['data']}, and "
            f"{basis['data']} is declared now: none can join them; without --missing all are made"
        )


def _check_kept(known: Mapping[str, Any], counted: Sequence[AberrantJob]) -> None:
    """Refuse to drop runs of a record, of which raw results are gone and that are not made yet."""
    there = {str(each) for each in counted}
    lost = [
        name
        for condition, each in known.get("conditions", {}).items()
        for cell, entry in each["cells"].items()
        for seed in entry["seeds"]
        if (name := run_name(condition, cell, seed)) not in there
    ]
    if lost:
        raise CheckpointError(
            f"{aberrations.FILE} counts {len(lost)} runs that have no raw results, the first "
            f"{lost[0]}; --missing makes them before it writes; --finished alone leaves them out"
        )


def _rates(
    family: Family,
    known: Mapping[str, Any],
    settings: Settings,
    options: Options,
    progress: StageProgress,
) -> dict[str, Any]:
    """'rates' of all losses, and the 'search' of some of them; those of a known record stand."""
    if known:
        return {name: known[name] for name in ("rates", "search")}
    declaration = declared(family.aberrations, "aberrations", family, options)
    own = chosen_rates(family, declaration.losses, settings.models_dir)
    searching = search_jobs(family, declaration, options.runs)
    run_stage("learning-rate search", searching, settings, options, progress)
    found = grid.best_rates(replace(family, rates=declaration.rates), searching)
    searched = {"tried": found.tried, "diverged": found.diverged}
    return {"rates": own | found.chosen, "search": searched}


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


def _counter(progress: StageProgress, total: int) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress("measuring on clean test images", done, total)

    return count


def _measure(
    jobs: Sequence[AberrantJob],
    data: Split,
    raw: Path,
    device: torch.device,
    count: Callable[[int], None],
) -> None:
    """Write the raw results of finished runs."""
    for each in jobs:
        kept = each.job.out / f"test-{data.digest}.npz"  # in the run's folder, for the same images
        if not kept.exists():
            aberrations.write_answers(kept, _answers(each.job, data, device))
        files.write_bytes(each.place(raw), files.read_bytes(kept))
        count(1)


def _answers(job: Job, data: Split, device: torch.device) -> Answers:
    """Of the last epoch's network, since a noisy validation split should choose nothing."""
    state = checkpoints.read(job.out / LAST, job.recipe)
    # as it was trained: normalized by the statistics of its own training images
    model = loop.make_model(job.recipe, loop.parts_of(data.train, job.recipe)[0])
    model.load_state_dict(state["model"])
    logits = predict(model.to(device), data.test.images)
    return Answers.of(logits.cpu(), data.test.labels)


def _conditions(
    declaration: Aberrations,
    jobs: Sequence[AberrantJob],
    raw: Path,
    images: int,
    count: Callable[[int], None],
) -> dict[str, Any]:
    """`conditions` of the record, from raw results; without cells where there are none."""
    found: dict[str, Any] = {}
    for condition, changes in declaration.conditions.items():
        runs: dict[str, dict[int, Answers]] = {}
        for each in (each for each in jobs if each.condition == condition):
            answers = aberrations.read_answers(each.place(raw), images)
            runs.setdefault(each.cell, {})[each.seed] = answers
        cells = aberrations.cells(runs, resamples=report.RESAMPLES, progress=count)
        found[condition] = dict(changes) | {"cells": cells}
    return found
