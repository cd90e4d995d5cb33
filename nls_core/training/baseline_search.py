"""The searches of a family's baselines: their learning rates, and the options of tuned losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nls_core.errors import NLSLabError
from nls_core.evidence.baselines import FOLDER
from nls_core.families import Baselines, Family
from nls_core.families.recipe import with_overrides
from nls_core.settings import Settings
from nls_core.training import grid
from nls_core.training.checkpoints import LOG
from nls_core.training.jobs import Job, run_stage
from nls_core.training.options import Options, StageProgress, declared
from nls_core.training.publish import rows

Settled = dict[str, dict[str, float]]  # loss -> its options


@dataclass(frozen=True)
class Search:
    """What searches came to; a loss of which a run is not finished is in neither choice.

    `tried` has a row for each run, `rates` the learning rates of `Baselines.rates` and `chosen` the
    options of `Baselines.tuned`, both by loss.
    """

    tried: Sequence[Mapping[str, Any]] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    chosen: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Search:
        """Of baselines.json, or of an empty record."""
        found = record.get("search", {})
        return cls(**{each.name: found[each.name] for each in fields(cls)} if found else {})


def search(
    family: Family,
    settings: Settings,
    options: Options,
    progress: StageProgress,
    *,
    own: Mapping[str, float],
    known: Search,
) -> Search:
    """Choose what `known` has not: run what is not finished, unless the options say otherwise.

    Args:
        family: one that declares baselines.
        settings, options, progress: as `baselines.train`.
        own: loss -> learning rate by the family's own search.
        known: choices that stand.

    Raises:
        NLSLabError: a run failed, or all of a loss diverged.
    """
    declaration = declared(family.baselines, "baselines", family, options)
    left = {k: each for k, each in declaration.rates.items() if k not in known.rates}
    trying = grid.search_jobs(replace(family, rates=left), options.runs)
    run_stage("learning-rate search", trying, settings, options, progress)
    untuned = {k: each for k, each in declaration.tuned.items() if k not in known.chosen}
    declaration = replace(declaration, tuned=untuned)
    tuning = tuning_jobs(family, declaration, own, options.runs)
    run_stage("search of the baselines", tuning, settings, options, progress)
    whole = {k: each for k, each in left.items() if _finished(trying, k)}
    of_rates = grid.best_rates(
        replace(family, rates=whole), [job for job in trying if job.recipe.loss in whole]
    )
    tried, chosen = tuned(declaration, tuning)
    return Search(
        [*known.tried, *of_rates.tried, *of_rates.diverged, *tried],
        {**known.rates, **of_rates.chosen},
        {**known.chosen, **chosen},
    )


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

    A loss of which a run is missing is left out: a choice among fewer may be another.

    Raises:
        NLSLabError: all of a loss diverged.
    """
    tried: list[dict[str, Any]] = []
    chosen: Settled = {}
    for loss, settings in declaration.tuned.items():
        if not _finished(jobs, loss):
            continue
        ended = [_ended(job, settings[0]) for job in jobs if job.recipe.loss == loss]
        whole = [row for row in ended if "val_nll" in row]
        if not whole:
            raise NLSLabError(f"every setting of {loss} diverged; its family needs others")
        best = min(whole, key=lambda row: float(row["val_nll"]))
        chosen[loss] = {name: float(best[name]) for name in settings[0]}
        tried += ended
    return tried, chosen


def _finished(jobs: Sequence[Job], loss: str) -> bool:
    return all(job.finished() for job in jobs if job.recipe.loss == loss)


def _ended(job: Job, options: Iterable[str]) -> dict[str, Any]:
    """What a run of the search was given and, unless it diverged, what it ended with."""
    made = job.recipe.to_dict()
    row = {name: made[name] for name in ("loss", *options)}
    if job.diverged():
        return row
    last = rows(job.out / LOG)[-1]
    return row | {key: float(last[key]) for key in ("val_accuracy", "val_nll", "val_ece")}
