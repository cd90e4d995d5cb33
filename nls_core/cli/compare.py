"""`nls compare`: two models on one picture, as an HTML export or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nls_core import files
from nls_core.analysis.results import Analysis, AnalysisRequest
from nls_core.cli.terminal import AsJson, err, out, progress_bar
from nls_core.errors import InvalidInput, UnknownModel, unknown
from nls_core.settings import Settings

if TYPE_CHECKING:
    from nls_core.analysis.analyzer import Analyzer


def command(
    *,
    image: Annotated[Path, typer.Argument(help="A picture: JPEG, PNG, WebP, BMP or GIF.")],
    baseline: Annotated[
        str | None, typer.Option(help="Model id; by default that of the family.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(help="Model id; by default that of the family.")
    ] = None,
    more: Annotated[
        list[str] | None, typer.Option(help="A further model of the family; up to four times.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="HTML file to write, or with .csv the numbers.")
    ] = Path("report.html"),
    cam: Annotated[str, typer.Option(help="Activation map.")] = AnalysisRequest.cam,
    layer: Annotated[
        str | None, typer.Option(help="Target layer of the maps; by default the last.")
    ] = None,
    target_class: Annotated[
        str | None,
        typer.Option(
            help="Name or index of the class that the maps explain; by default each "
            "model's own prediction."
        ),
    ] = None,
    attack: Annotated[str, typer.Option(help="Attack.")] = AnalysisRequest.attack,
    target: Annotated[
        str | None,
        typer.Option(
            help="Name or index of the class that the attack is to reach; by default it is to "
            "leave each model's answer."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Attack steps.")] = AnalysisRequest.steps,
    epsilons: Annotated[
        str | None,
        typer.Option(
            help="In 1/255, comma-separated; by default those of the family; with --json also none."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 0,
    flip_point: Annotated[
        bool, typer.Option(help="Find the smallest ε at which PGD changes each model's label.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Compare two models on one picture: a self-contained HTML report, or JSON on stdout."""
    from nls_core.analysis.analyzer import Analyzer
    from nls_core.analysis.requests import class_index
    from nls_core.analysis.requests import epsilons as strengths

    settings = Settings()
    analyzer = Analyzer(settings)
    models = tuple(dict.fromkeys((*_models(analyzer, baseline, candidate), *(more or ()))))
    classes = analyzer.manifest(models[0]).classes
    request = AnalysisRequest(
        models=models,
        cam=cam,
        layer=layer,
        target_class=class_index(target_class, classes),
        attack=attack,
        attack_target=class_index(target, classes),
        epsilons=strengths(epsilons, models[0], attack),
        steps=steps,
        seed=seed,
        flip_point=flip_point,
    )
    if not (request.epsilons or as_json):
        raise InvalidInput("a report shows attacks, got no strengths; --json answers without")
    analysis = _analyze(analyzer, image, request, quiet=as_json)
    if as_json:
        from nls_core.web.rest import schemas

        typer.echo(schemas.analysis_response(analysis).model_dump_json(indent=2))
    else:
        _export(analysis, output, image.name, settings)


def _analyze(analyzer: Analyzer, image: Path, request: AnalysisRequest, *, quiet: bool) -> Analysis:
    try:
        data = image.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {image}: {error.strerror}") from error
    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task("analysis", total=100)
        return analyzer.analyze(
            data, request, lambda done, what: bar.update(task, completed=100 * done)
        )


def _export(analysis: Analysis, output: Path, name: str, settings: Settings) -> None:
    """Write the report, or its numbers; print its first sentence and the hints."""
    from nls_core.views import report, sentences

    if output.suffix.lower() == ".csv":
        files.write_text(output, report.table(analysis))
    else:
        css = (settings.static_dir / "style.css").read_text(encoding="utf-8")
        files.write_text(output, report.page(analysis, report.Origin(name), css=css))
    out.print(sentences.sentence(analysis), markup=False, highlight=False)
    for model in analysis.models:
        facts = "; ".join(sentences.facts(model))
        out.print(f"{model.manifest.id}: {facts}", markup=False, highlight=False)
    if worse := sentences.no_better(analysis):
        out.print(worse, markup=False, highlight=False)
    for model in analysis.models:
        if hint := sentences.hint(model, analysis.x):
            out.print(f"{model.manifest.id}: {hint}", markup=False, highlight=False)
    err.print(f"written: {output}", markup=False)


def _models(analyzer: Analyzer, baseline: str | None, candidate: str | None) -> tuple[str, ...]:
    """The ids of both models, or of the one: what is left out is of the family, or the first."""
    from nls_core.analysis import choice

    if baseline and candidate:
        return tuple(dict.fromkeys((baseline, candidate)))
    given = baseline or candidate
    names = (given.partition("/")[0],) if given else choice.opening(analyzer.families())
    if not names or not analyzer.ids(names[0]):
        raise UnknownModel(unknown("model", given, analyzer.ids()))
    first, second = analyzer.pair(names[0])
    return baseline or first, candidate or second
