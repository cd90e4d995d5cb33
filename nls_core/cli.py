"""The `nls` command: exit status 0 fine, 2 wrong use, 1 failure with one clear line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.table import Table

from nls_core import cli_train, datasets, evaluate, robust, train, zoo
from nls_core.corruptions import CORRUPTIONS, SEVERITIES
from nls_core.settings import Settings
from nls_core.terminal import err, out, progress_bar
from nls_core.types import AnalysisRequest, CheckpointError, InvalidInput, NLSLabError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="See and check what normalized soft labels do to an image classifier.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
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


app.command("train")(cli_train.command)


@app.command("evaluate")
def evaluate_(
    ids: Annotated[list[str] | None, typer.Argument(help="Model ids; none means all.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Another data set than the model's own.")
    ] = None,
    shift: Annotated[bool, typer.Option("--shift", help="Also under common corruptions.")] = False,
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
            rounds = 1 + shift * len(CORRUPTIONS) * len(SEVERITIES)
            task = bar.add_task(f"{model_id} on {name}", total=len(held) + rounds * len(test))
            results[model_id] = evaluate.evaluate(
                model_id,
                held,
                test,
                models_dir=settings.models_dir,
                device=settings.torch_device(),
                shift=shift,
                report=lambda done, task=task: bar.advance(task, done),  # type: ignore[misc]
            )[1]
    if as_json:
        rows = {k: dict(m.metrics) | {"temperature": m.temperature} for k, m in results.items()}
        for model_id, measured in results.items():
            rows[model_id] |= {"shift": measured.shift} if shift else {}
        print_json({"schema": evaluate.SCHEMA, "models": rows})
        return
    table = Table("metric", *results)
    for metric in next(iter(results.values())).metrics:
        cells = (m.metrics[metric] for m in results.values())
        table.add_row(metric, *(_figure(cell) for cell in cells))
    table.add_row("temperature", *(f"{m.temperature:.4f}" for m in results.values()))
    for name in CORRUPTIONS if shift else ():
        for key in ("accuracy", "ece"):
            means = (fmean(row[key] for row in m.shift[name]) for m in results.values())
            table.add_row(f"{key}, {name} (mean of 5)", *(f"{mean:.4f}" for mean in means))
    out.print(table)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


@app.command("attack")
def attack_(
    ids: Annotated[list[str] | None, typer.Argument(help="Model ids; none means all.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Test images, always the same.")] = 500,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy under attack: white-box, black-box, transfer, and the worst of all."""
    settings = Settings()
    ids = ids or list(zoo.available(settings.models_dir))
    loaded = [zoo.load(model_id, settings.models_dir) for model_id in ids]
    names = {str(manifest.recipe["dataset"]) for _, manifest in loaded}
    if len(names) != 1:
        raise InvalidInput(f"expected models of one data set; got {sorted(names) or 'none'}")
    x, y = robust.subset(datasets.load(names.pop(), settings.data_dir, "test"), images)
    models = {manifest.id: model for model, manifest in loaded}
    with progress_bar() as bar:
        work = len(robust.CASES) * len(robust.EPSILONS) * len(x)
        task = bar.add_task("attacks (images)", total=len(models) * work)
        attacked = {
            model_id: robust.attack(model, x, y, report=lambda done: bar.advance(task, done))
            for model_id, model in models.items()
        }
    rows = robust.table(models, attacked, y)
    tried = [round(epsilon * 255, 3) for epsilon in robust.EPSILONS]
    if as_json:
        print_json({"schema": 1, "images": len(x), "epsilons_255": tried, "accuracy": rows})
        return
    head = ["model", "attack", *(f"{epsilon:g}/255" for epsilon in tried)]
    typer.echo(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for model_id, cases in rows.items():
        for case, shares in cases.items():
            cells = [model_id, case, *(f"{100 * share:.1f}" for share in shares)]
            typer.echo(f"| {' | '.join(cells)} |")


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
