"""Which models are measured together: those of one data set, or of one seed of a family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nls_core import families, zoo
from nls_core.errors import CheckpointError, InvalidInput
from nls_core.evidence import collect, commands, stored_runs
from nls_core.evidence.parts import LONGEST, PARTS, USUAL, Subject
from nls_core.settings import Settings

RAW = "clean"  # the part with the logits


@dataclass(frozen=True)
class Group:
    """What `collect.gather` measures together: its arguments."""

    subjects: Mapping[str, Subject]
    parts: Sequence[str]
    others: Mapping[str, Subject] = field(default_factory=dict)
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def wanted(self) -> list[tuple[str, Subject, str]]:
        """All parts of all models, part by part: the long ones are dealt out evenly."""
        found = []
        for part in PARTS:
            of_group = [n for n in self.subjects if part in (*self.parts, *self.more.get(n, ()))]
            found += [(name, self.subjects[name], part) for name in of_group]
            if part == LONGEST and part in self.parts:
                found += [(name, subject, part) for name, subject in self.others.items()]
        return found


def of_models(
    ids: Sequence[str],
    settings: Settings,
    dataset: str | None,
    parts: Sequence[str] | None,
    *,
    download: bool,
) -> Iterator[Group]:
    """What is measured of the named models, or of all, each data set's together.

    Args:
        ids: of any families; what is measured out of fold is left out.
        settings: where models and data are.
        dataset: another one than the models' own.
        parts: of `PARTS`; None takes the usual ones.
        download: fetch a missing data set.
    """
    _, split = by_protocol(ids or zoo.available(settings.models_dir), settings, dataset)
    for name, names in split.items():
        subjects = collect.subjects(names, settings, name, download=download)
        first = next(iter(subjects.values()))
        others = collect.surrogate(first, settings.models_dir / collect.SURROGATES)
        yield Group(subjects, parts or USUAL, others)


def by_protocol(
    ids: Sequence[str], settings: Settings, dataset: str | None
) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Models that can be measured together.

    Args:
        ids: of any families; an unknown one is refused by its name.
        settings: where models are.
        dataset: another one than the models' own, on which all of them are measured.

    Returns:
        Models measured out of fold, one list for each family; and the others by data set.
    """
    out_of_fold: dict[str, list[str]] = {}
    split: dict[str, list[str]] = {}
    for model_id in dict.fromkeys(ids):
        manifest = zoo.read_manifest(model_id, settings.models_dir)
        protocol = families.protocol_of(model_id)
        if dataset is None and protocol == families.OUT_OF_FOLD:
            out_of_fold.setdefault(manifest.family, []).append(model_id)
        else:
            name = dataset or str(manifest.recipe["dataset"])
            split.setdefault(name, []).append(model_id)
    return list(out_of_fold.values()), split


def of_seeds(
    family: str, settings: Settings, runs: Path, parts: Sequence[str] | None
) -> Iterator[tuple[Path, Group]]:
    """What is measured of a family, seed by seed, and each seed's folder; out of fold, nothing.

    Without `parts`, the usual ones, and of the seeds whose weights are shipped all.

    Raises:
        CheckpointError: `runs` holds no published seeds of the family.
        InvalidInput: `parts` lacks 'clean', which raw results rest on, and there are none yet of
            some of the weights.
    """
    if families.protocol_of(family) == families.OUT_OF_FOLD:
        return
    folders = sorted((runs / family / "seeds").glob("[0-9]*"), key=lambda path: int(path.name))
    if not folders:
        raise CheckpointError(
            f"no seeds of {family} in {runs}; `{commands.train(family)}` makes them"
        )
    for i, folder in enumerate(folders):
        here = settings.model_copy(update={"models_dir": folder})
        group = collect.subjects(zoo.available(folder), here)
        if parts is not None and RAW not in parts:
            _check_on_record(group, settings.models_dir / family / stored_runs.FOLDER, parts)
        others = _sources(group, folders[i + 1 :] + folders[:i])
        more = _shipped(group, settings) if parts is None else {}
        yield folder, Group(group, parts or USUAL, others, more)


def _check_on_record(group: Mapping[str, Subject], raw: Path, parts: Sequence[str]) -> None:
    lacking = [
        f"{name} of seed {subject.manifest.seed}"
        for name, subject in group.items()
        if not stored_runs.on_record(subject.manifest, subject.test.labels, raw)
    ]
    if lacking:
        raise InvalidInput(
            f"raw results rest on {RAW!r}, and there are none yet of {', '.join(lacking)}; got "
            f"--only {','.join(parts)}: add {RAW} to it"
        )


def _shipped(group: Mapping[str, Subject], settings: Settings) -> dict[str, list[str]]:
    """The parts that are not usual, for those models whose very weights are shipped."""
    more = [name for name in PARTS if name not in USUAL]
    ids = set(zoo.available(settings.models_dir))
    return {
        name: more
        for name, subject in group.items()
        if name in ids
        and zoo.read_manifest(name, settings.models_dir).sha256 == subject.manifest.sha256
    }


def _sources(group: Mapping[str, Subject], folders: Sequence[Path]) -> dict[str, Subject]:
    """Whose attacks are tried on the models of a seed, beside each other's.

    Not all cells have all seeds, but every cell is attacked from every other: a cell that is not
    in `group` comes from the first of the other seeds, `folders`, that has it.
    """
    subject = next(iter(group.values()))
    where = {name: folder for folder in reversed(folders) for name in zoo.available(folder)}
    missing = {
        name: collect.elsewhere(subject, name, folder)
        for name, folder in where.items()
        if name not in group
    }
    return (collect.surrogate(subject, folders[0]) if folders else {}) | missing
