"""The options of `nls train --grid`, and the callback by which it shows its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from nls_core.errors import InvalidInput
from nls_core.families import FAMILIES, Aberrations, Baselines, Family

T = TypeVar("T", Aberrations, Baselines)
# called with the stage, what is done of it, and how much there is (None: not known before)
StageProgress = Callable[[str, int, int | None], None]


def quiet(stage: str, done: int, total: int | None) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Options:
    """How a family is trained; not every protocol honours all, see `protocols.PROTOCOLS`.

    `runs` is the folder of the runs, `jobs` how many train side by side, `seeds` how many each
    cell gets, from 0 (see `Family.seeds`). With `finished` nothing is trained, and what is
    finished is published; `download` fetches a missing data set, where its source allows. With
    `aberrations` the runs on aberrant data are made instead of the cells, with `baselines` those
    that the cells are held against; with `missing` only those of them that the models folder holds
    no raw results of, and searches that are on record choose as they did.
    """

    runs: Path
    jobs: int = 1
    seeds: int = 1
    finished: bool = False
    download: bool = False
    aberrations: bool = False
    baselines: bool = False
    missing: bool = False

    def changed(self) -> tuple[str, ...]:
        """The names of the options that are not at their defaults, `runs` aside."""
        default = Options(self.runs)
        names = (each.name for each in fields(self))
        return tuple(name for name in names if getattr(self, name) != getattr(default, name))


def declared(declaration: T | None, name: str, family: Family, options: Options) -> T:
    """What a family declares beside its cells, under a field `name` that is an option too.

    Raises:
        InvalidInput: nothing, or the options ask for another number of seeds.
    """
    if declaration is None:
        known = [each.name for each in FAMILIES.values() if getattr(each, name) is not None]
        raise InvalidInput(f"{family.name} declares no {name}; families that do: {known}")
    if options.seeds != 1:
        raise InvalidInput(
            f"--{name} has {declaration.seeds} seeds by its declaration; leave --seeds out"
        )
    return declaration
