"""`nls train --grid FAMILY --baselines`: what the cells are held against, tuned as fairly.

What is trained, chosen and compared was written down in docs/rules.md before any run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nls_core import files, zoo
from nls_core.data import datasets
from nls_core.errors import CheckpointError
from nls_core.evidence import baselines, collect, commands, stored_runs
from nls_core.evidence.collect import Store
from nls_core.evidence.groups import Group
from nls_core.evidence.parts import LONGEST, PARTS
from nls_core.families import Baselines, Family
from nls_core.families.recipe import with_overrides
from nls_core.settings import Settings
from nls_core.training import seeds
from nls_core.training.baseline_search import Search, search
from nls_core.training.checkpoints import LOG
from nls_core.training.jobs import Job
from nls_core.training.options import Options, StageProgress, declared, quiet
from nls_core.training.publish import chosen_rates, rows
from nls_core.training.reported import run_reported

MEASURED = ("clean", "shift")  # of every baseline, keys of PARTS


@dataclass(frozen=True)
class BaselineJob:
    """A run, and the cell whose figures it gives.

    `early`: at its lowest validation NLL; `attacked`: those under attack too.
    """

    cell: str
    job: Job
    early: bool
    attacked: bool

    def __str__(self) -> str:
        return f"{self.cell}, seed {self.job.recipe.seed}"

    def place(self, raw: Path) -> Path:
        """Of its raw results, in their folder."""
        return raw / self.cell / f"seed{self.job.recipe.seed}.json"


def jobs_of(
    family: Family,
    declaration: Baselines,
    rates: Mapping[str, float],
    chosen: Mapping[str, Mapping[str, float]],
    runs: Path,
) -> list[BaselineJob]:
    """All reported runs, seed by seed, so that an early stop leaves whole sets.

    What a search has not chosen for yet is left out: it is in neither `rates` nor `chosen`.
    """
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
                runs / family.name / baselines.FOLDER / name / f"seed{seed}",
            ),
            name in declaration.early,
            name in declaration.attacked,
        )
        for seed in range(declaration.seeds)
        for name, changes in (named | dict(declaration.fixed)).items()
        if changes["loss"] in rates
    ]


def train(
    family: Family, settings: Settings, options: Options, progress: StageProgress = quiet
) -> dict[str, Any]:
    """Search, train and measure; what is finished is not done again.

    Args:
        family: one that declares baselines.
        settings: where models and data are; the family's raw results are what is compared.
        options: all but `seeds` are honoured. With `finished` a baseline whose search is not
            finished is left out.
        progress: called with the stage, and what is done and in all.

    Returns:
        The record that is written to baselines.json in the family's folder.

    Raises:
        InvalidInput: see `options.declared`.
        CheckpointError: the family's search or raw results are missing, or nothing is finished; or
            the runs that are not `missing` are of other settings than the declared ones.
        NLSLabError: a run failed; and as `run_jobs`.
    """
    declaration = declared(family.baselines, "baselines", family, options)
    own = chosen_rates(family, declaration.losses(), settings.models_dir)
    known = baselines.read(family.name, settings.models_dir) if options.missing else {}
    found = search(family, settings, options, progress, own=own, known=Search.of(known))
    jobs = jobs_of(family, declaration, own | dict(found.rates), found.chosen, options.runs)
    described = {each.cell: _setting(each.job) for each in jobs}
    _check_same(known.get("settings", {}), described)
    made = run_reported(
        "training of the baselines",
        jobs,
        settings,
        options,
        progress,
        raw=settings.models_dir / family.name / baselines.FOLDER,
        diverged=known.get("diverged", ()),
        command=commands.baselines(family.name),
    )
    _measure(family, made.finished, settings, options, progress)
    record = baselines.record(
        family.name,
        settings.models_dir,
        about={
            "epochs": family.recipe.epochs,
            "search": {"epochs": declaration.search_epochs, **asdict(found)},
            "settings": described,
            "diverged": made.diverged,
        },
        counted={(each.cell, each.job.recipe.seed) for each in made.counted},
        progress=lambda done: progress("intervals of baselines", done, None),
    )
    files.write_json(settings.models_dir / family.name / baselines.FILE, record)
    return record


def _check_same(known: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Refuse to let runs join those that `known` describes where the settings are others."""
    if changed := [cell for cell in known if known[cell] != described.get(cell)]:
        raise CheckpointError(
            f"the runs of {baselines.FILE} have other settings of {changed} than are declared now: "
            "none can join them; without --missing all are made"
        )


def _setting(job: Job) -> dict[str, Any]:
    """What a reader needs to tell a baseline from a cell of the same loss."""
    recipe = job.recipe
    shown: dict[str, Any] = {"loss": recipe.loss, "lr": recipe.lr}
    return shown | {
        "smoothing": recipe.smoothing,
        "gamma": recipe.gamma,
        "weight_decay": recipe.weight_decay,
    }


def _measure(
    family: Family,
    jobs: Sequence[BaselineJob],
    settings: Settings,
    options: Options,
    progress: StageProgress,
) -> None:
    """Write the raw results of finished runs, measured as the cells are."""
    full = datasets.load(
        family.recipe.dataset, settings.data_dir, "train", download=options.download
    )
    raw = settings.models_dir / family.name / baselines.FOLDER
    keep = Store(options.runs / "evaluate")
    attacked = {f"{family.name}/{each.cell}" for each in jobs if each.attacked}
    for seed in sorted({each.job.recipe.seed for each in jobs}):
        folder = options.runs / family.name / baselines.FOLDER / "seeds" / str(seed)
        here = settings.model_copy(update={"models_dir": folder})
        logs = {}
        for each in (e for e in jobs if e.job.recipe.seed == seed):
            model_id = f"{family.name}/{each.cell}"
            seeds.store(each.job, family, full, folder, model_id=model_id, early=each.early)
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
                stored_runs.write(evidence, group.subjects[name].test.labels, logs[name], raw)


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
