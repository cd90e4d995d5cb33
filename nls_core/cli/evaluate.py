"""`nls evaluate`: one report of chosen models, or the evidence of a whole family over its seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from nls_core import families, files, zoo
from nls_core.cli.terminal import err, progress_bar
from nls_core.errors import CheckpointError, InvalidInput, choose
from nls_core.evidence import collect, out_of_fold_report, report, robustness, stored_runs
from nls_core.evidence.cells import Table, number, percent
from nls_core.evidence.collect import PARTS, Measurements, Store, Subject
from nls_core.evidence.findings import markdown
from nls_core.settings import Settings
from nls_core.training import publish

HIDDEN = ("images",)


def command(
    ids: Annotated[list[str] | None, typer.Argument(help="Model ids; none means all.")] = None,
    *,
    only: Annotated[
        str, typer.Option(help=f"Parts to measure, comma-separated: {', '.join(PARTS)}.")
    ] = ",".join(PARTS),
    family: Annotated[
        str | None,
        typer.Option(help="Measure all seeds of this family and write its report.json."),
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
    settings = Settings()
    parts = chosen_parts(only)
    store = Store(runs / "evaluate")
    if family is not None:
        if ids or dataset or only != ",".join(PARTS):
            raise InvalidInput("--family measures all parts of all its models; give it alone")
        record = whole_family(family, settings, runs, store)
        _show(record, [cells_table(record["cells"])], output, as_json)
        return
    asked = ids or list(zoo.available(settings.models_dir))
    if not asked:
        raise CheckpointError(f"no models in {settings.models_dir}; see `nls train --help`")
    stored = [
        i for i in asked if families.protocol_of(i) == families.OUT_OF_FOLD and dataset is None
    ]
    others = [i for i in asked if i not in stored]
    made = [_photos(stored, settings)] if stored else []
    if others:
        group = collect.subjects(others, settings, dataset, download=download)
        made.append(_chosen(group, parts, store, settings.models_dir))
    record = {key: value for each, _ in made for key, value in each.items()}
    record["command"] = " ".join(
        ["nls evaluate", *(ids or []), *(["--only", only] if others else [])]
    )
    record["models"] = {name: m for each, _ in made for name, m in each["models"].items()}
    _show(record, [table for _, each in made for table in each], output, as_json)


def chosen_parts(only: str) -> list[str]:
    """The parts that `--only` names; an unknown one is refused."""
    parts = only.split(",")
    for part in parts:
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


def _photos(ids: Sequence[str], settings: Settings) -> tuple[dict[str, Any], list[Table]]:
    """Models of `photos`: the kept answers of networks that never saw the object."""
    for model_id in ids:
        zoo.read_manifest(model_id, settings.models_dir)  # an unknown id is refused by its name
    record = out_of_fold_report.evaluate(ids, settings.models_dir)
    return record, out_of_fold_report.tables(record)


def _chosen(
    group: Mapping[str, Subject], parts: Sequence[str], store: Store, models_dir: Path
) -> tuple[dict[str, Any], list[Table]]:
    """Models of one data set, and how the images of their family's surrogate transfer to them."""
    some = next(iter(group.values()))
    others = collect.surrogate(some, models_dir / collect.SURROGATES)
    measured = measure_all(group, parts, store, others)
    models = {name: collect.to_json(each) for name, each in measured.items()}
    record = {
        "schema": collect.SCHEMA,
        "created_with": stored_runs.created_with(),
        "models": models,
    }
    return record, tables(models)


def measure_all(
    group: Mapping[str, Subject],
    parts: Sequence[str],
    store: Store,
    others: Mapping[str, Subject],
) -> dict[str, Measurements]:
    """Measure with a progress bar for each model and part."""
    some = next(iter(group.values()))
    sizes = (len(some.held), len(some.test), len(some.y))
    with progress_bar() as bar:
        tasks: dict[tuple[str, str], Any] = {}

        def tell(model: str, part: str, done: int) -> None:
            if (model, part) not in tasks:
                total = collect.work(part, *sizes)
                tasks[model, part] = bar.add_task(f"{model}: {part}", total=total)
            bar.advance(tasks[model, part], done)

        return collect.gather(group, parts, store, others=others, report=tell)


def whole_family(family: str, settings: Settings, runs: Path, store: Store) -> dict[str, Any]:
    """Measure every published seed of a family, write raw results and report.json.

    Raises:
        CheckpointError: `runs` holds no published seeds of the family.
    """
    folders = sorted((runs / family / "seeds").glob("[0-9]*"), key=lambda path: int(path.name))
    if not folders:
        raise CheckpointError(
            f"no seeds of {family} in {runs}; `nls train --grid {family} --seeds 3` makes them"
        )
    target = settings.models_dir / family / stored_runs.FOLDER
    for i, folder in enumerate(folders):
        here = settings.model_copy(update={"models_dir": folder})
        group = collect.subjects(zoo.available(folder), here)
        some = next(iter(group.values()))
        others = _sources(group, folders[i + 1 :] + folders[:i])
        err.print(f"seed {folder.name}: {len(group)} models", markup=False)
        measured = measure_all(group, list(PARTS), store, others)
        for name, each in measured.items():
            curve = publish.rows(folder / name / publish.CURVE)
            stored_runs.write(each, some.test.labels, curve, target)
    with progress_bar() as bar:
        task = bar.add_task("intervals (resamples)", total=report.RESAMPLES)
        return report.build(
            family,
            settings.models_dir,
            f"nls evaluate --family {family}",
            lambda done: bar.advance(task, done),
        )


def _sources(group: Mapping[str, Subject], folders: Sequence[Path]) -> dict[str, Subject]:
    """Whose attacks are tried on the models of a seed, beside each other's.

    Not all cells have all seeds, but every cell is attacked from every other: a cell that is not
    in `group` comes from the first of the other seeds, `folders`, that has it.
    """
    some = next(iter(group.values()))
    first = {name: folder for folder in reversed(folders) for name in zoo.available(folder)}
    missing = {
        name: collect.elsewhere(some, name, folder)
        for name, folder in first.items()
        if name not in group
    }
    return (collect.surrogate(some, folders[0]) if folders else {}) | missing


def tables(models: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Tables of what was measured: single numbers by model, and accuracy under attack."""
    rows: dict[str, dict[str, float]] = {}
    for name, found in models.items():
        values = dict(found.get("metrics", {}))
        if "temperature" in found:
            values["temperature"] = found["temperature"]
        for case, each in found.get("shift", {}).items():
            for key in ("accuracy", "ece"):
                values[f"{key}, {case} (mean of 5)"] = fmean(row[key] for row in each)
        values |= {f"ood auroc, {k}": v for k, v in found.get("ood", {}).items()}
        values |= {f"map {k}": v for k, v in found.get("maps", {}).items()}
        rows[name] = {k: v for k, v in values.items() if k not in HIDDEN}
    names = list(next(iter(rows.values()))) if rows else []
    made = [
        [
            ["metric", *rows],
            *([key, *(_figure(r.get(key)) for r in rows.values())] for key in names),
        ]
    ]
    attacked = {name: found for name, found in models.items() if "robust" in found}
    if attacked:
        head = ["model", "attack", *(f"{key}/255" for key in report.epsilon_keys())]
        made.append([head, *_attack_rows(attacked)])
    return made


def _attack_rows(models: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for name, found in models.items():
        cases = dict(found["robust"])
        cases |= {f"transfer from {k}": v for k, v in found["transfer"].items()}
        rows += [
            [name, case, *(f"{100 * v:.1f}" for v in values)] for case, values in cases.items()
        ]
        masking = found["masking"]
        signs = ", ".join(masking["signs"]) or "-"
        rows.append(
            [name, f"masking: {masking['verdict']}", signs, *[""] * (len(robustness.EPSILONS) - 1)]
        )
    return rows


def cells_table(cells: Mapping[str, Any]) -> Table:
    """A family's cells in short: mean ± sd of the main figures, in percent."""
    rows = [["cell", "seeds", "accuracy %", "ECE-15 %", "NLL", "worst at 4/255 %", "masking"]]
    for name, cell in cells.items():
        found = cell["metrics"]
        figures = [percent(found.get("accuracy")), percent(found.get("ece"))]
        worst = cell.get("robust", {}).get(robustness.WORST, {}).get("4")
        verdict = cell.get("masking", {}).get("verdict", "-")
        figures += [number(found.get("nll"), 4), percent(worst)]
        rows.append([name, str(len(cell["seeds"])), *figures, verdict])
    return rows


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
