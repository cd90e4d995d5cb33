"""The `nls` command: exit status 0 fine, 2 wrong use, 1 failure with one clear line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nls_core import datasets, evaluate, grid, train, zoo
from nls_core.losses import LOSSES
from nls_core.nets import ARCHITECTURES, PADDINGS
from nls_core.recipe import SCHEDULES, Recipe
from nls_core.settings import Settings
from nls_core.types import AnalysisRequest, CheckpointError, InvalidInput, NLSLabError, choose

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="See and check what normalized soft labels do to an image classifier.",
)
out = Console()
err = Console(stderr=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT = Recipe()
CTRL_C = 130  # typer's own status for it


def main() -> None:
    """Run the command line; errors of ours become one line on stderr."""
    try:
        app()
    except InvalidInput as error:
        _fail(str(error), 2)
    except ValidationError as error:
        wrong = [
            f"NLS_{e['loc'][-1]}".upper() + f"={e['input']!r}: {e['msg']}" for e in error.errors()
        ]
        _fail("; ".join(wrong), 2)
    except (NLSLabError, train.Interrupted, OSError) as error:
        _fail(str(error), 1)
    except SystemExit as error:
        if error.code == CTRL_C:
            _fail("stopped", 1)
        raise


def _fail(message: str, status: int) -> NoReturn:
    """One line on stderr, however long, and an exit status."""
    line = " ".join(message.split())
    err.print(f"nls: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)


def progress_bar(quiet: bool = False) -> Progress:
    """A bar with count and remaining time, on stderr so that --json output stays clean."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=quiet or not err.is_terminal,  # in a file it would leave an empty line
        transient=True,
    )


def print_json(data: Any) -> None:
    """Data on stdout, as JSON that reads back exactly."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


@app.command()
def models(
    *,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """List the models with their measured accuracy and calibration."""
    settings = Settings()
    ids = zoo.available(settings.models_dir)
    manifests = [zoo.read_manifest(model_id, settings.models_dir) for model_id in ids]
    if as_json:
        print_json([asdict(manifest) for manifest in manifests])
        return
    head, *rows = zoo.summary(manifests)
    if markdown:
        for row in (head, ["---"] * len(head), *rows):
            typer.echo(f"| {' | '.join(row)} |")
        return
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    out.print(table)


@app.command("train")
def train_(  # one option per field of Recipe
    ctx: typer.Context,
    *,
    grid_name: Annotated[
        str | None, typer.Option("--grid", help=f"Train a whole family: {', '.join(grid.GRIDS)}.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of a grid's runs.")] = Path("runs"),
    jobs: Annotated[int, typer.Option(min=1, help="Grid runs side by side.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per cell of a grid.")] = 1,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder of a single run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last step.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch a missing data set.")] = False,
    dataset: Annotated[
        str, typer.Option(help=f"{', '.join(datasets.DATASETS)} or imagefolder:PATH[?size=N].")
    ] = DEFAULT.dataset,
    arch: Annotated[str, typer.Option(help=", ".join(ARCHITECTURES))] = DEFAULT.arch,
    loss: Annotated[str, typer.Option(help=", ".join(LOSSES))] = DEFAULT.loss,
    padding: Annotated[str, typer.Option(help=" or ".join(PADDINGS))] = DEFAULT.padding,
    smoothing: Annotated[float, typer.Option(help="s in [0, 1].")] = DEFAULT.smoothing,
    gamma: Annotated[float, typer.Option(help="Focal exponent, at least 0.")] = DEFAULT.gamma,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = DEFAULT.lr,
    epochs: Annotated[int, typer.Option()] = DEFAULT.epochs,
    batch_size: Annotated[int, typer.Option(help="Over all processes.")] = DEFAULT.batch_size,
    momentum: Annotated[float, typer.Option()] = DEFAULT.momentum,
    weight_decay: Annotated[float, typer.Option()] = DEFAULT.weight_decay,
    schedule: Annotated[str, typer.Option(help=" or ".join(SCHEDULES))] = DEFAULT.schedule,
    warmup: Annotated[float, typer.Option(help="Share of steps.")] = DEFAULT.warmup,
    flip: Annotated[bool, typer.Option(help="Random horizontal flips.")] = DEFAULT.flip,
    amp: Annotated[bool, typer.Option(help="bf16 autocast.")] = DEFAULT.amp,
    freeze_bn: Annotated[bool, typer.Option(help="Batch norm in eval mode.")] = DEFAULT.freeze_bn,
    seed: Annotated[int, typer.Option()] = DEFAULT.seed,
) -> None:
    """Train one model into --out (also under torchrun), or a family with --grid."""
    settings = Settings()
    if grid_name is not None:
        family = choose("grid", grid_name, grid.GRIDS)
        fixed = [name for name in (*asdict(DEFAULT), "out_dir") if _given(ctx, name)]
        if fixed:
            raise InvalidInput(f"--grid sets these itself: {fixed}; give them without --grid")
        _train_grid(
            family, settings, quiet, runs=runs, workers=jobs, seeds=seeds, download=download
        )
        return
    if out_dir is None:
        raise InvalidInput("expected --out FOLDER for a single run, or --grid FAMILY; got neither")
    values = locals()
    recipe = Recipe(**{name: values[name] for name in asdict(DEFAULT)})
    with train.processes() as rank, progress_bar(quiet or rank > 0) as bar:
        recipe.check()
        data = datasets.load(recipe.dataset, settings.data_dir, "train", download=download)
        task = bar.add_task(f"{loss}-{padding}", total=None)

        def report(at: train.Progress, steps: int) -> None:
            accuracy = f" val {100 * at.rows[-1]['val_accuracy']:.2f} %" if at.rows else ""
            bar.update(
                task,
                description=f"epoch {at.epoch + 1}/{epochs}{accuracy}",
                completed=at.epoch * steps + at.step,
                total=epochs * steps,
            )

        device = settings.torch_device()
        done = train.run(recipe, out_dir, data, resume=resume, device=device, report=report)
    if rank == 0:
        last = done.rows[-1]
        err.print(
            f"{out_dir}: best validation accuracy {100 * done.best_accuracy:.2f} % in epoch "
            f"{done.best_epoch}; last ECE {100 * last['val_ece']:.2f} %",
            markup=False,
        )


def _given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _train_grid(family: grid.Family, settings: Settings, quiet: bool, **options: Any) -> None:
    with progress_bar(quiet) as bar:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(f"{family.name}: {stage} (epochs)", total=total)
            bar.update(tasks[stage], completed=done)

        made = grid.train_family(family, settings, report=report, **options)
    for manifest in made:
        out.print(f"{manifest.id}: accuracy {100 * manifest.metrics['accuracy']:.2f} %")


@app.command("evaluate")
def evaluate_(
    ids: Annotated[list[str] | None, typer.Argument(help="Model ids; none means all.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Another data set than the model's own.")
    ] = None,
    as_json: AsJson = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch a missing data set.")] = False,
) -> None:
    """Measure models on the test split; the temperature is fitted on the validation split."""
    settings = Settings()
    ids = ids or list(zoo.available(settings.models_dir))
    if not ids:
        raise CheckpointError(f"no models in {settings.models_dir}; see `nls train --help`")
    manifests = {model_id: zoo.read_manifest(model_id, settings.models_dir) for model_id in ids}
    results: dict[str, evaluate.Measured] = {}
    with progress_bar() as bar:
        for model_id, manifest in manifests.items():
            name = dataset or str(manifest.recipe["dataset"])
            held, test = evaluate.splits(name, settings.data_dir, download=download)
            task = bar.add_task(f"{model_id} on {name}", total=len(held) + len(test))
            results[model_id] = evaluate.evaluate(
                model_id,
                held,
                test,
                models_dir=settings.models_dir,
                device=settings.torch_device(),
                report=lambda done, task=task: bar.advance(task, done),  # type: ignore[misc]
            )[1]
    if as_json:
        rows = {k: dict(m.metrics) | {"temperature": m.temperature} for k, m in results.items()}
        print_json({"schema": evaluate.SCHEMA, "models": rows})
        return
    table = Table("metric", *results)
    for metric in next(iter(results.values())).metrics:
        cells = (m.metrics[metric] for m in results.values())
        table.add_row(metric, *(_figure(cell) for cell in cells))
    table.add_row("temperature", *(f"{m.temperature:.4f}" for m in results.values()))
    out.print(table)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


@app.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Default: NLS_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: NLS_PORT, 7860.")] = None,
) -> None:
    """Serve the web page and the REST API."""
    from nls_core import server  # Gradio takes seconds to import; training does not need it

    chosen = {"host": host, "port": port}
    given = {key: value for key, value in chosen.items() if value is not None}
    settings = Settings().model_copy(update=given)
    server.serve(server.create_app(settings), settings)


@app.command()
def compare(
    *,
    image: Annotated[Path, typer.Argument(help="A picture: JPEG, PNG, WebP, BMP or GIF.")],
    baseline: Annotated[str, typer.Option(help="Model id.")] = "fashion/ce-zero",
    candidate: Annotated[str, typer.Option(help="Model id.")] = "fashion/nls-partial",
    output: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    cam: Annotated[str, typer.Option(help="Activation map.")] = "gradcam",
    attack: Annotated[str, typer.Option(help="Attack.")] = "pgd-linf",
    epsilons: Annotated[str, typer.Option(help="In 1/255, comma-separated.")] = "1,2,4,8",
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two models on one picture: a self-contained HTML report, or JSON on stdout."""
    from nls_core import analyzer, panels, schemas

    settings = Settings()
    request = AnalysisRequest(
        models=(baseline, candidate),
        cam=cam,
        attack=attack,
        epsilons=analyzer.parse_epsilons(epsilons),
        seed=seed,
    )
    try:
        data = image.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {image}: {error.strerror}") from error
    with progress_bar(quiet=as_json) as bar:
        task = bar.add_task("analysis", total=100)
        analysis = analyzer.Analyzer(settings).analyze(
            data, request, lambda done, what: bar.update(task, completed=100 * done)
        )
    if as_json:
        typer.echo(schemas.analysis_response(analysis).model_dump_json(indent=2))
        return
    css = (settings.static_dir / "style.css").read_text(encoding="utf-8")
    output.write_text(panels.report(analysis, css=css), encoding="utf-8")
    out.print(panels.sentence(analysis), markup=False, highlight=False)
    err.print(f"written: {output}", markup=False)


@app.command()
def bench(
    *,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds per comparison.")] = 15,
    as_json: AsJson = False,
) -> None:
    """Measure speed as ratios, side by side in one run, medians of several rounds."""
    from nls_core import bench as benchmarks
    from nls_core.analyzer import Analyzer

    settings = Settings()
    pictures = sorted((settings.static_dir / "examples").glob("*/*.*"))
    rows = benchmarks.run(Analyzer(settings), pictures[0].read_bytes(), rounds)
    if as_json:
        print_json(rows)
        return
    table = Table("what", "first", "second", "first ms", "second ms", "second / first")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    out.print(table)
