"""`nls train`: its options, one for each field of `Recipe`, and what it shows meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nls_core.cli.terminal import err, out, progress_bar
from nls_core.data import datasets
from nls_core.errors import InvalidInput, choose
from nls_core.families import FAMILIES, Family
from nls_core.families.recipe import SCHEDULES, Recipe
from nls_core.losses import LOSSES
from nls_core.nets import ARCHITECTURES, PADDINGS
from nls_core.settings import Settings
from nls_core.training import loop, protocols
from nls_core.training.options import Options
from nls_core.training.processes import processes, stops_raise
from nls_core.training.protocols import Protocol

DEFAULT = Recipe()
RECIPE = tuple(DEFAULT.to_dict())  # one option each


def command(  # one option per field of Recipe
    ctx: typer.Context,
    *,
    grid_name: Annotated[
        str | None, typer.Option("--grid", help=f"Train a whole family: {', '.join(FAMILIES)}.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of a grid's runs.")] = Path("runs"),
    jobs: Annotated[int, typer.Option(min=1, help="Grid runs side by side.")] = 1,
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Seeds per cell of a grid; from 3 on, the headline cells 2 more."),
    ] = 1,
    finished: Annotated[
        bool, typer.Option("--finished", help="Of a grid publish what is finished, train nothing.")
    ] = False,
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
    weight: Annotated[float | None, typer.Option(help="λ of nls_ls.")] = DEFAULT.weight,
) -> None:
    """Train one model into --out (also under torchrun), or a family with --grid.

    Ctrl-C or SIGTERM stops it at the next step, with everything saved; the exit status is then 130
    or 143, and --resume, or the same command with --grid, goes on.
    """
    settings = Settings()
    if grid_name is not None:
        family = choose("grid", grid_name, FAMILIES)
        own = [name for name in (*RECIPE, "out_dir") if _given(ctx, name)]
        if own:
            raise InvalidInput(
                f"--grid {grid_name} sets these itself: {own}; leave them out: `{family.command}`"
            )
        options = Options(runs, jobs, seeds, finished=finished, download=download)
        protocol = protocols.check(family, options)
        with stops_raise("what is finished is kept; the same command goes on"):
            _train_family(family, protocol, settings, options, quiet=quiet)
        return
    if out_dir is None:
        raise InvalidInput("expected --out FOLDER for a single run, or --grid FAMILY; got neither")
    stray = [name for name in ("runs", "jobs", "seeds", "finished") if _given(ctx, name)]
    if stray:
        raise InvalidInput(f"{stray} belong to --grid FAMILY; a single run into --out has none")
    recipe = Recipe(**{name: ctx.params[name] for name in RECIPE})
    with stops_raise("what was saved before is whole; go on with --resume"):
        _train_one(recipe, settings, out_dir, resume=resume, quiet=quiet, download=download)


def _train_one(
    recipe: Recipe, settings: Settings, out_dir: Path, *, resume: bool, quiet: bool, download: bool
) -> None:
    with processes() as rank, progress_bar(quiet or rank > 0) as bar:
        recipe.check()
        data = datasets.load(recipe.dataset, settings.data_dir, "train", download=download)
        task = bar.add_task(f"{recipe.loss}-{recipe.padding}", total=None)

        def report(at: loop.Position, steps: int) -> None:
            accuracy = f" val {100 * at.rows[-1]['val_accuracy']:.2f} %" if at.rows else ""
            bar.update(
                task,
                description=f"epoch {at.epoch + 1}/{recipe.epochs}{accuracy}",
                completed=at.epoch * steps + at.step,
                total=recipe.epochs * steps,
            )

        device = settings.torch_device()
        done = loop.run(recipe, out_dir, data, resume=resume, device=device, report=report)
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


def _train_family(
    family: Family, protocol: Protocol, settings: Settings, options: Options, *, quiet: bool
) -> None:
    with progress_bar(quiet) as bar:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                title = f"{family.name}: {stage} ({protocol.unit})"
                tasks[stage] = bar.add_task(title, total=total)
            bar.update(tasks[stage], completed=done)

        made = protocol.train(family, settings, options, report)
    for manifest in made:
        accuracy = 100 * manifest.metrics["accuracy"]
        out.print(f"{manifest.id}: {protocol.accuracy} {accuracy:.2f} %")
