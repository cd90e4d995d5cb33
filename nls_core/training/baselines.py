"""`nls train --grid FAMILY --baselines`: what the cells are held against, tuned as fairly.

What is trained, chosen and compared was written down in docs/rules.md before any run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nls_core import files, zoo
from nls_core.data import datasets
from nls_core.errors import CheckpointError, NLSLabError
from nls_core.evidence import baselines, collect, commands, stored_runs
from nls_core.evidence.collect import Store
from nls_core.evidence.groups import Group
from nls_core.evidence.parts import LONGEST, PARTS
from nls_core.families import Baselines, Family
from nls_core.families.recipe import with_overrides
from nls_core.settings import Settings
from nls_core.training import grid, seeds
from nls_core.training.checkpoints import LOG
from nls_core.training.jobs import Job, run_stage
from nls_core.training.options import Options, StageProgress, declared, quiet
from nls_core.training.publish import chosen_rates, rows

FOLDER = "baselines"  # in the runs of a family
MEASURED = ("clean", "shift")  # of every baseline, keys of PARTS

Settled = dict[str, dict[str, float]]  # loss -> its options


@dataclass(frozen=True)
class BaselineJob:
    """A run, and the cell whose figures it gives.

    `early`: at its lowest validation NLL; `attacked`: those under attack too.
    """

    cell: str
    job: Job
    early: bool
    attacked: bool


def tuning_jobs(
    family: Family, declaration: Baselines, rates: Mapping[str, float], runs: Path
) -> list[Job]:
    """The runs that choose the options of tuned losses, on a seed that is not reported."""
    return [
        Job(
            with_overrides(
                family.recipe,
                loss=loss,
                lr=rates[loss],
                epochs=declaration.search_epochs,
                seed=grid.SHORT_SEED,
                **changes,
            ),
            runs / family.name / FOLDER / "search" / _slug({"loss": loss, **changes}),
        )
        for loss, tried in declaration.tuned.items()
        for changes in tried
    ]


def _slug(changes: Mapping[str, Any]) -> str:
    loss, *rest = changes.items()
    return "-".join([str(loss[1]), *(f"{name}{value:g}" for name, value in rest)])


def tuned(declaration: Baselines, jobs: Sequence[Job]) -> tuple[list[dict[str, Any]], Settled]:
    """What `tuning_jobs` ended with, and loss -> the options of the lowest validation NLL.

    Raises:
        CheckpointError: one is not finished: a choice among fewer may be another.
        NLSLabError: all of a loss diverged.
    """
    if missing := [job for job in jobs if not job.finished()]:
        raise CheckpointError(
            f"the search of the baselines is not finished: {len(missing)} of {len(jobs)} runs are "
            f"missing, the first {missing[0].out}; the same command without --finished goes on"
        )
    tried: list[dict[str, Any]] = []
    for job in jobs:
        made = job.recipe.to_dict()
        row = {name: made[name] for name in ("loss", *declaration.tuned[job.recipe.loss][0])}
        if not job.diverged():
            last = rows(job.out / LOG)[-1]
            row |= {k: float(last[k]) for k in ("val_accuracy", "val_nll", "val_ece")}
        tried.append(row)
    chosen: Settled = {}
    for loss, settings in declaration.tuned.items():
        whole = [row for row in tried if row["loss"] == loss and "val_nll" in row]
        if not whole:
            raise NLSLabError(f"every setting of {loss} diverged; its family needs others")
        best = min(whole, key=lambda row: float(row["val_nll"]))
        chosen[loss] = {name: float(best[name]) for name in settings[0]}
    return tried, chosen


def jobs_of(
    family: Family,
    declaration: Baselines,
    rates: Mapping[str, float],
    chosen: Settled,
    runs: Path,
) -> list[BaselineJob]:
    """All reported runs, seed by seed, so that an early stop leaves whole sets."""
    named: dict[str, Mapping[str, Any]] = {
        f"{loss}_tuned": {"loss": loss, **settings} for loss, settings in chosen.items()
    }
    return [
        BaselineJob(
            f"{name}-zero",
            Job(
                with_overrides(
                    family.recipe, lr=rates[str(changes["loss"])], seed=seed, **dict(changes)
                ),
                runs / family.name / FOLDER / name / f"seed{seed}",
            ),
            name in declaration.early,
            name in declaration.attacked,
        )
        for seed in range(declaration.seeds)
        for name, changes in (named | dict(declaration.fixed)).items()
    ]


def train(
    family: Family, settings: Settings, options: Options, progress: StageProgress = quiet
) -> dict[str, Any]:
    """Search, train and measure; what is finished is not done again.

    Args:
        family: one that declares baselines.
        settings: where models and data are; the family's raw results are what is compared.
        options: `runs`, `jobs`, `finished` and `download` are honoured.
        progress: called with the stage, and what is done and in all.

    Returns:
        The record that is written to baselines.json in the family's folder.

    Raises:
        InvalidInput: see `options.declared`.
        CheckpointError: the family's search or raw results are missing, or nothing is finished.
        NLSLabError: a run failed; and as `run_jobs`.
    """
    declaration = declared(family.baselines, "baselines", family, options)
    rates = chosen_rates(family, declaration.losses(), settings.models_dir)
    searched = replace(family, rates=declaration.rates)
    trying = grid.search_jobs(searched, options.runs)
    run_stage("learning-rate search", trying, settings, options, progress)
    rates |= grid.best_rates(searched, trying).chosen
    searching = tuning_jobs(family, declaration, rates, options.runs)
    run_stage("search of the baselines", searching, settings, options, progress)
    tried, chosen = tuned(declaration, searching)
    jobs = jobs_of(family, declaration, rates, chosen, options.runs)
    training = [each.job for each in jobs]
    run_stage("training of the baselines", training, settings, options, progress)
    whole = [each for each in jobs if each.job.finished() and not each.job.diverged()]
    if not whole:
        raise CheckpointError(
            f"there is no finished run in {options.runs}; "
            f"`{commands.baselines(family.name)}` makes them"
        )
    raw = _measured(family, whole, settings, options, progress)
    record = baselines.record(
        family.name,
        settings.models_dir,
        raw,
        about={
            "epochs": family.recipe.epochs,
            "search": {"epochs": declaration.search_epochs, "tried": tried, "chosen": chosen},
            "settings": {each.cell: _setting(each.job) for each in jobs},
            "diverged": [
                f"{each.cell}, seed {each.job.recipe.seed}" for each in jobs if each.job.diverged()
            ],
        },
        progress=lambda done: progress("intervals of baselines", done, None),
    )
    files.write_json(settings.models_dir / family.name / baselines.FILE, record)
    return record


def _setting(job: Job) -> dict[str, Any]:
    """What a reader needs to tell a baseline from a cell of the same loss."""
    recipe = job.recipe
    shown: dict[str, Any] = {"loss": recipe.loss, "lr": recipe.lr}
    return shown | {
        "smoothing": recipe.smoothing,
        "gamma": recipe.gamma,
        "weight_decay": recipe.weight_decay,
    }


def _measured(
    family: Family,
    jobs: Sequence[BaselineJob],
    settings: Settings,
    options: Options,
    progress: StageProgress,
) -> Path:
    """Measure all finished runs, as the cells were measured; gives the folder of raw results."""
    base = options.runs / family.name / FOLDER
    full = datasets.load(
        family.recipe.dataset, settings.data_dir, "train", download=options.download
    )
    keep = Store(options.runs / "evaluate")
    attacked = {f"{family.name}/{each.cell}" for each in jobs if each.attacked}
    for seed in sorted({each.job.recipe.seed for each in jobs}):
        here = settings.model_copy(update={"models_dir": base / "seeds" / str(seed)})
        logs = {}
        for each in (e for e in jobs if e.job.recipe.seed == seed):
            model_id = f"{family.name}/{each.cell}"
            seeds.store(
                each.job, family, full, here.models_dir, model_id=model_id, early=each.early
            )
            logs[model_id] = rows(each.job.out / LOG)
        for group in _groups(list(logs), attacked, family, here, settings):
            found = collect.gather(
                group.subjects,
                group.parts,
                keep,
                others=group.others,
                progress=_counted(progress, group),
            )
            for name, evidence in found.items():
                labels = group.subjects[name].test.labels
                stored_runs.write(evidence, labels, logs[name], base / stored_runs.FOLDER)
    return base / stored_runs.FOLDER


def _groups(
    ids: Sequence[str], attacked: Set[str], family: Family, here: Settings, settings: Settings
) -> list[Group]:
    """Those that are attacked, also with the images of the shipped headline cells; the others."""
    found = []
    for parts, names in (
        ((*MEASURED, LONGEST), [name for name in ids if name in attacked]),
        (MEASURED, [name for name in ids if name not in attacked]),
    ):
        if not names:
            continue
        subjects = collect.subjects(names, here)
        first = next(iter(subjects.values()))
        shipped = (f"{family.name}/{cell}" for cell in family.headline)
        known = zoo.available(settings.models_dir)
        others = {
            name: collect.elsewhere(first, name, settings.models_dir)
            for name in shipped
            if LONGEST in parts and name in known
        }
        found.append(Group(subjects, parts, others))
    return found


def _counted(progress: StageProgress, group: Group) -> Any:
    """`progress` for `collect.gather`, which tells of each model and part."""
    first = next(iter(group.subjects.values()))
    done: dict[tuple[str, str], int] = {}

    def count(name: str, part: str, more: int) -> None:
        done[name, part] = done.get((name, part), 0) + more
        progress(f"{name}: {part}", done[name, part], PARTS[part].images(first))

    return count
