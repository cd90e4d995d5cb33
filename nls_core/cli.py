"""The `nls` command: exit status 0 fine, 2 wrong use, 1 failure with one clear line.

Stopped by a signal it is 128 and the signal's number, as shells have it: 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.table import Table

from nls_core import cli_data, cli_evaluate, cli_train, cli_verify, files, findings, startup, zoo
from nls_core.processes import Interrupted
from nls_core.settings import Settings
from nls_core.terminal import err, out, progress_bar
from nls_core.types import AnalysisRequest, InvalidInput, NLSLabError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="See and check what normalized soft labels do to an image classifier.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
CTRL_C = 130  # 128 + SIGINT, and what typer makes of it


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
    except Interrupted as error:
        if error.quiet:
            sys.exit(128 + error.number)
        _fail(str(error), 128 + error.number)
    except (NLSLabError, OSError) as error:
        _fail(str(error), 1)
    except SystemExit as error:
        if error.code == CTRL_C:
            _fail("stopped by SIGINT", CTRL_C)
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
        typer.echo(findings.markdown([head, *rows]))
        return
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    out.print(table)


app.command("train")(cli_train.command)


app.command("evaluate")(cli_evaluate.command)


app.command("verify")(cli_verify.command)


app.command("data")(cli_data.command)


@app.command("findings")
def findings_(
    family: Annotated[str, typer.Argument(help="A family with a report.json.")] = "fashion",
    output: Annotated[Path, typer.Option(help="Markdown file to write.")] = Path(
        "docs/findings.md"
    ),
) -> None:
    """Write the verdicts on the paper's claims, from the family's reports."""
    for finding in findings.write(family, Settings().models_dir, output):
        typer.echo(f"{finding.verdict}: {finding.claim}")
    err.print(f"written: {output}", markup=False)


@app.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Default: NLS_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: NLS_PORT, 7860.")] = None,
) -> None:
    """Serve the web page and the REST API."""
    chosen = {"host": host, "port": port}
    given = {key: value for key, value in chosen.items() if value is not None}
    settings = Settings().model_copy(update=given)
    listener = startup.prepare(settings)
    from nls_core import server  # Gradio takes seconds to import; training does not need it

    server.serve(settings, listener)


@app.command()
def compare(
    *,
    image: Annotated[Path, typer.Argument(help="A picture: JPEG, PNG, WebP, BMP or GIF.")],
    baseline: Annotated[str, typer.Option(help="Model id.")] = "photos/ce-zero",
    candidate: Annotated[str, typer.Option(help="Model id.")] = "photos/nls-zero",
    output: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    cam: Annotated[str, typer.Option(help="Activation map.")] = "gradcam",
    attack: Annotated[str, typer.Option(help="Attack.")] = "pgd-linf",
    epsilons: Annotated[str, typer.Option(help="In 1/255, comma-separated.")] = "1,2,4,8",
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two models on one picture: a self-contained HTML report, or JSON on stdout."""
    from nls_core import analyzer, panels, schemas, sentences

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
    files.write_text(output, panels.report(analysis, css=css))
    out.print(sentences.sentence(analysis), markup=False, highlight=False)
    for hinted in filter(sentences.hint, analysis.models):
        text = f"{hinted.manifest.id}: {sentences.hint(hinted)}"
        out.print(text, markup=False, highlight=False)
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
    fresh = settings.model_copy(update={"max_cache_bytes": 0})  # or only the first would compute
    rows = benchmarks.run(Analyzer(fresh), pictures[0].read_bytes(), rounds)
    if as_json:
        print_json(rows)
        return
    table = Table("what", "first", "second", "first ms", "second ms", "second / first")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    out.print(table)
