"""The options of `nls train --grid`, and the callback by which it shows its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

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
    `aberrations` the runs on aberrant data are made instead of the cells.
    """

    runs: Path
    jobs: int = 1
    seeds: int = 1
    finished: bool = False
    download: bool = False
    aberrations: bool = False

    def changed(self) -> tuple[str, ...]:
        """The names of the options that are not at their defaults, `runs` aside."""
        default = Options(self.runs)
        names = (each.name for each in fields(self))
        return tuple(name for name in names if getattr(self, name) != getattr(default, name))
