"""Several processes measure one report: each its shard of the parts, into the store of all.

Who then asks for the report finds every part measured. The processes may run on several machines,
where all see one folder of runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from nls_core.errors import InvalidInput, shown
from nls_core.evidence.collect import Store
from nls_core.evidence.groups import Group
from nls_core.evidence.parts import Subject


@dataclass(frozen=True)
class Shard:
    """What process `index`, from 0 of `count`, measures."""

    index: int
    count: int
    _owners: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)

    def has(self, subject: Subject, part: str) -> bool:
        """Whether this process measures a part of a model; all have to ask in one order."""
        key = (subject.manifest.sha256, part)  # what two groups need is measured once
        return self._owners.setdefault(key, len(self._owners) % self.count) == self.index


def parse(text: str) -> Shard:
    """The shard that '2/3' names: the second of three.

    Raises:
        InvalidInput: it is not that.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise InvalidInput(f"expected a shard such as 1/2 or 2/2; got {shown(text)}")
    return Shard(int(index) - 1, int(count))


def of_torchrun() -> Shard | None:
    """The shard of a process that torchrun started; None for any other."""
    if "WORLD_SIZE" not in os.environ:
        return None
    return Shard(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def measure(
    group: Group,
    store: Store,
    shard: Shard,
    progress: Callable[[str, str, int], None] = lambda model, part, done: None,
) -> int:
    """Measure a shard of a group's parts, or find them measured; gives their number."""
    mine = [(n, subject, part) for n, subject, part in group.wanted() if shard.has(subject, part)]
    for name, subject, part in mine:
        store.part(subject, part, partial(progress, name, part))
    return len(mine)
