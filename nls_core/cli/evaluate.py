"""`nls evaluate`: one report of chosen models, or the evidence of a whole family over its seeds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from nls_core import families, files, zoo
from nls_core.cli.terminal import err, progress_bar
from nls_core.errors import CheckpointError, InvalidInput, choose, need
from nls_core.evidence import (
    collect,
    evaluation_tables,
    groups,
    out_of_fold_report,
    report,
    sharding,
    stored_runs,
)
from nls_core.evidence.cells import Table
from nls_core.evidence.collect import Measurements, Store
from nls_core.evidence.findings import markdown
from nls_core.evidence.groups import Group
from nls_core.evidence.parts import PARTS, USUAL
from nls_core.evidence.sharding import Shard
from nls_core.settings import Settings
from nls_core.training import publish
from nls_core.training.processes import processes, wait_for_all

ONLY = (
    f"Parts to measure, comma-separated: {', '.join(PARTS)}; where it is not given, all but "
    f"{', '.join(name for name in PARTS if name not in USUAL)}."
)

PATIENCE = timedelta(days=2)  # in which all processes of torchrun have to finish their shares


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
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N: only measure the I-th of N shards of the parts, beside other processes. "
            "The same command without it reports. Processes of torchrun need no such option."
        ),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch a missing data set.")] = False,
) -> None:
    """Measure models on the test split: accuracy, calibration, shift, attacks, maps.

    Parts that were measured before, of the same weights, are read and not measured again.
    """
    need("train", "torchmetrics")
    settings = Settings()
    parts = chosen_parts(only)
    store = Store(runs / "evaluate")
    if family is not None and (ids or dataset):
        raise InvalidInput("--family measures all its models; it takes no ids and no --dataset")
    together = (
        groups.of_models(ids or [], settings, dataset, parts, download=download)
        if family is None
        else (group for _, group in groups.of_seeds(family, settings, runs, parts))
    )
    if not reports(shard, together, store):
        return
    if family is not None:
        record = WHOLE[families.protocol_of(family)](family, settings, runs, store, parts)
        made = [evaluation_tables.of_cells(record["cells"])]
    else:
        record, made = _models(ids or [], settings, dataset, parts, store, download=download)
    _show(record, made, output, as_json)


def reports(shard: str | None, together: Iterable[Group], store: Store) -> bool:
    """Whether this process is the one to report, after the shards that it and others measure."""
    given = None if shard is None else sharding.parse(shard)
    with processes(patience=PATIENCE) as rank:
        if mine := given or sharding.of_torchrun():
            measure_shard(together, store, mine)
            wait_for_all()
    return given is None and rank == 0


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
    out_of_fold, split = groups.by_protocol(asked, settings, dataset)
    made = [_out_of_fold(group, settings, parts) for group in out_of_fold]
    together = groups.of_models(asked, settings, dataset, parts, download=download)
    made += [_split(group, store) for group in together]
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


def _split(group: Group, store: Store) -> tuple[dict[str, Any], list[Table]]:
    """Models of one data set, and how the images of their family's surrogate transfer to them."""
    measured = measure_all(group, store)
    models = {name: collect.to_json(each) for name, each in measured.items()}
    record = {
        "schema": collect.SCHEMA,
        "created_with": stored_runs.created_with(),
        "models": models,
    }
    return record, evaluation_tables.of_models(models)


def measure_all(group: Group, store: Store) -> dict[str, Measurements]:
    """`collect.gather` with a progress bar for each model and part."""
    with progress_bar() as bar:
        return collect.gather(
            group.subjects,
            group.parts,
            store,
            others=group.others,
            more=group.more,
            progress=_on_bar(bar, group),
        )


def measure_shard(together: Iterable[Group], store: Store, shard: Shard) -> None:
    """`sharding.measure` of all groups, with progress bars, and a line at the end."""
    count = 0
    for group in together:
        with progress_bar(shard.index > 0) as bar:
            count += sharding.measure(group, store, shard, _on_bar(bar, group))
    err.print(f"shard {shard.index + 1} of {shard.count}: {count} parts are measured", markup=False)


def _on_bar(bar: Progress, group: Group) -> Callable[[str, str, int], None]:
    first = next(iter(group.subjects.values()))
    tasks: dict[tuple[str, str], Any] = {}

    def progress(model: str, part: str, done: int) -> None:
        if (model, part) not in tasks:
            total = PARTS[part].images(first)
            tasks[model, part] = bar.add_task(f"{model}: {part}", total=total)
        bar.advance(tasks[model, part], done)

    return progress


def measured_family(
    family: str, settings: Settings, runs: Path, store: Store, parts: Sequence[str] | None
) -> dict[str, Any]:
    """Measure every published seed of a family, write raw results and report.json.

    Raw results of seeds that are not in `runs` stay, and of those that are, the parts that are not
    asked for. Without `parts`, all of them, and of the seeds whose weights are shipped also those
    that are not usual.

    Raises:
        CheckpointError, InvalidInput: as `groups.of_seeds`.
    """
    target = settings.models_dir / family / stored_runs.FOLDER
    for folder, group in groups.of_seeds(family, settings, runs, parts):
        first = next(iter(group.subjects.values()))
        err.print(f"seed {folder.name}: {len(group.subjects)} models", markup=False)
        for name, each in measure_all(group, store).items():
            curve = publish.rows(folder / name / publish.CURVE)
            whole = stored_runs.joined(each, first.test.labels, target)
            stored_runs.write(whole, first.test.labels, curve, target)
    return _reported(family, settings)


def reported_family(
    family: str, settings: Settings, runs: Path, store: Store, parts: Sequence[str] | None
) -> dict[str, Any]:
    """Write report.json from the raw results that are there.

    Raises:
        InvalidInput: `parts` are asked for: training has left all there are.
    """
    if parts is not None:
        raise InvalidInput(f"{family} is measured out of fold, while it is trained; without --only")
    return _reported(family, settings)


def _reported(family: str, settings: Settings) -> dict[str, Any]:
    with progress_bar() as bar:
        task = bar.add_task("intervals of runs", total=None)
        return report.build(family, settings.models_dir, lambda done: bar.advance(task, done))


# what `--family` does, by protocol; out of fold, training leaves raw results and no networks
Whole = Callable[[str, Settings, Path, Store, Sequence[str] | None], dict[str, Any]]
WHOLE: dict[str, Whole] = {
    families.SPLIT: measured_family,
    families.OUT_OF_FOLD: reported_family,
}
