"""`nls evaluate`: one report of chosen models, or the evidence of a whole family over its seeds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nls_core import families, files, zoo
from nls_core.cli.terminal import err, progress_bar
from nls_core.errors import CheckpointError, InvalidInput, choose, need
from nls_core.evidence import (
    collect,
    commands,
    evaluation_tables,
    out_of_fold_report,
    report,
    stored_runs,
)
from nls_core.evidence.cells import Table
from nls_core.evidence.collect import Measurements, Store
from nls_core.evidence.findings import markdown
from nls_core.evidence.parts import PARTS, USUAL, Subject
from nls_core.settings import Settings
from nls_core.training import publish

ONLY = (
    f"Parts to measure, comma-separated: {', '.join(PARTS)}; where it is not given, all but "
    f"{', '.join(name for name in PARTS if name not in USUAL)}."
)


def command(
    ids: Annotated[list[str] | None, typer.Argument(help="Model ids; none means all.")] = None,
    *,
    only: Annotated[str | None, typer.Option(help=ONLY)] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="Measure all seeds of this family and write its report.json; out of fold, "
            "report what training left."
        ),
    ] = None,
    runs: Annotated[
        Path, typer.Option(help="Folder of runs; measured parts are kept there.")
    ] = Path("runs"),
    dataset: Annotated[
        str | None, typer.Option(help="Another data set than the models' own.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the report as JSON to a file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of Markdown tables.")
    ] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch a missing data set.")] = False,
) -> None:
    """Measure models on the test split: accuracy, calibration, shift, attacks, maps.

    Parts that were measured before, of the same weights, are read and not measured again.
    """
    need("train", "torchmetrics")
    settings = Settings()
    parts = chosen_parts(only)
    store = Store(runs / "evaluate")
    if family is not None:
        if ids or dataset or parts is not None:
            raise InvalidInput("--family measures all parts of all its models; give it alone")
        record = WHOLE[families.protocol_of(family)](family, settings, runs, store)
        made = [evaluation_tables.of_cells(record["cells"])]
    else:
        record, made = _models(ids or [], settings, dataset, parts, store, download=download)
    _show(record, made, output, as_json)


def _models(
    ids: Sequence[str],
    settings: Settings,
    dataset: str | None,
    parts: Sequence[str] | None,
    store: Store,
    *,
    download: bool,
) -> tuple[dict[str, Any], list[Table]]:
    """The record and the tables of the named models, or of all; the arguments as `command`."""
    asked = ids or zoo.available(settings.models_dir)
    if not asked:
        raise CheckpointError(f"no models in {settings.models_dir}; see `nls train --help`")
    out_of_fold, split = by_protocol(asked, settings, dataset)
    made = [_out_of_fold(group, settings, parts) for group in out_of_fold]
    for name, group in split.items():
        loaded = collect.subjects(group, settings, name, download=download)
        made.append(_split(loaded, parts or USUAL, store, settings.models_dir))
    options = ["--only", ",".join(parts or USUAL)] if parts or split else []
    options += ["--dataset", dataset] if dataset else []
    command = shlex.join(["nls", "evaluate", *ids, *options])
    record = merged([each for each, _ in made]) | {"command": command}
    return record, [table for _, tables in made for table in tables]


def merged(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One record of several, of whose entries by model or family none is lost."""
    result: dict[str, Any] = {}
    for record in records:
        for key, value in record.items():
            known = result.get(key)
            result[key] = known | value if isinstance(known, dict) else value
    return result


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


def chosen_parts(only: str | None) -> list[str] | None:
    """The parts that `--only` names, None where it was not given; an unknown one is refused."""
    parts = None if only is None else only.split(",")
    for part in parts or ():
        choose("part", part, PARTS)
    return parts


def _show(
    record: Mapping[str, Any], made: Sequence[Table], output: Path | None, as_json: bool
) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False)
    if output is not None:
        files.write_text(output, text + "\n")
        err.print(f"written: {output}", markup=False)
    typer.echo(text if as_json else "\n\n".join(markdown(table) for table in made))


def _out_of_fold(
    ids: Sequence[str], settings: Settings, parts: Sequence[str] | None
) -> tuple[dict[str, Any], list[Table]]:
    """Models of one family: the kept answers of networks that never saw the object."""
    kept = tuple(parts or out_of_fold_report.KEPT)
    record = out_of_fold_report.evaluate(ids, settings.models_dir, kept)
    return record, out_of_fold_report.tables(record)


def _split(
    group: Mapping[str, Subject], parts: Sequence[str], store: Store, models_dir: Path
) -> tuple[dict[str, Any], list[Table]]:
    """Models of one data set, and how the images of their family's surrogate transfer to them."""
    first = next(iter(group.values()))
    others = collect.surrogate(first, models_dir / collect.SURROGATES)
    measured = measure_all(group, parts, store, others)
    models = {name: collect.to_json(each) for name, each in measured.items()}
    record = {
        "schema": collect.SCHEMA,
        "created_with": stored_runs.created_with(),
        "models": models,
    }
    return record, evaluation_tables.of_models(models)


def measure_all(
    group: Mapping[str, Subject],
    parts: Sequence[str],
    store: Store,
    others: Mapping[str, Subject],
    more: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Measurements]:
    """`collect.gather` with a progress bar for each model and part."""
    first = next(iter(group.values()))
    with progress_bar() as bar:
        tasks: dict[tuple[str, str], Any] = {}

        def progress(model: str, part: str, done: int) -> None:
            if (model, part) not in tasks:
                total = PARTS[part].images(first)
                tasks[model, part] = bar.add_task(f"{model}: {part}", total=total)
            bar.advance(tasks[model, part], done)

        return collect.gather(group, parts, store, others=others, more=more, progress=progress)


def measured_family(family: str, settings: Settings, runs: Path, store: Store) -> dict[str, Any]:
    """Measure every published seed of a family, write raw results and report.json.

    Of the seeds whose weights are shipped, also the parts that are not usual.

    Raises:
        CheckpointError: `runs` holds no published seeds of the family.
    """
    folders = sorted((runs / family / "seeds").glob("[0-9]*"), key=lambda path: int(path.name))
    if not folders:
        raise CheckpointError(
            f"no seeds of {family} in {runs}; `{commands.train(family)}` makes them"
        )
    target = settings.models_dir / family / stored_runs.FOLDER
    for i, folder in enumerate(folders):
        here = settings.model_copy(update={"models_dir": folder})
        group = collect.subjects(zoo.available(folder), here)
        first = next(iter(group.values()))
        others = _sources(group, folders[i + 1 :] + folders[:i])
        err.print(f"seed {folder.name}: {len(group)} models", markup=False)
        measured = measure_all(group, USUAL, store, others, _shipped(group, settings))
        for name, each in measured.items():
            curve = publish.rows(folder / name / publish.CURVE)
            stored_runs.write(each, first.test.labels, curve, target)
    return reported_family(family, settings, runs, store)


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


def reported_family(family: str, settings: Settings, runs: Path, store: Store) -> dict[str, Any]:
    """Write report.json from the raw results that are there."""
    with progress_bar() as bar:
        task = bar.add_task("intervals of runs", total=None)
        return report.build(family, settings.models_dir, lambda done: bar.advance(task, done))


# what `--family` does, by protocol; out of fold, training leaves raw results and no networks
WHOLE: dict[str, Callable[[str, Settings, Path, Store], dict[str, Any]]] = {
    families.SPLIT: measured_family,
    families.OUT_OF_FOLD: reported_family,
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
