"""`nls train`: its options, one for each field of `Recipe`, and what it shows meanwhile."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from nls_core.cli import evaluate
from nls_core.cli.terminal import err, out, progress_bar
from nls_core.data import datasets
from nls_core.data.aberrations import KINDS
from nls_core.errors import InvalidInput, choose, need
from nls_core.evidence import aberration_claim, baseline_claims
from nls_core.evidence.cells import Table
from nls_core.evidence.collect import Store
from nls_core.evidence.findings import markdown
from nls_core.evidence.parts import LONGEST, USUAL
from nls_core.families import FAMILIES, Family, own
from nls_core.families.recipe import SCHEDULES, TRANSFER, Recipe
from nls_core.losses import LOSSES
from nls_core.nets import NAMES, PADDINGS
from nls_core.settings import Settings
from nls_core.training import loop, protocols
from nls_core.training.aberrations import train as train_aberrant
from nls_core.training.baselines import train as train_baselines
from nls_core.training.checkpoints import Position
from nls_core.training.options import Options
from nls_core.training.processes import processes, stops_raise

DEFAULT = Recipe()
# one option each
RECIPE = tuple(each.name for each in fields(Recipe) if each.name not in TRANSFER)
# what a grid trains instead of its cells, and the table that it then prints
FURTHER: dict[str, tuple[Callable[..., dict[str, Any]], Callable[[dict[str, Any]], Table]]] = {
    "aberrations": (train_aberrant, aberration_claim.table),
    "baselines": (train_baselines, baseline_claims.table),
}
GRID = ("runs", "jobs", "seeds", "finished", *FURTHER, "missing")  # what a single run has not


# options of a single run and of a grid
GridName = Annotated[
    str | None, typer.Option("--grid", help=f"Train a whole family: {', '.join(FAMILIES)}.")
]
OwnFamily = Annotated[
    str | None,
    typer.Option(
        "--family",
        help="Train the pair ce and nls (or --loss alone) on --dataset as a family of this name.",
    ),
]
Runs = Annotated[Path, typer.Option(help="Folder of a family's runs.")]
Jobs = Annotated[int, typer.Option(min=1, help="Grid runs side by side.")]
Seeds = Annotated[
    int, typer.Option(min=1, help="Seeds per cell of a grid; from 3 on, the headline cells 2 more.")
]
Finished = Annotated[
    bool, typer.Option("--finished", help="Of a grid publish what is finished, train nothing.")
]
Aberrant = Annotated[
    bool, typer.Option("--aberrations", help="Of a grid train its runs on wrong labels and tails.")
]
Against = Annotated[
    bool, typer.Option("--baselines", help="Of a grid train the baselines of its claims.")
]
Missing = Annotated[
    bool,
    typer.Option(
        "--missing",
        help="Of these train only what models/ holds no raw results of.",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of a single run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last step.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch a missing data set.")]

# options of the recipe
DatasetName = Annotated[
    str, typer.Option(help=f"{', '.join(datasets.DATASETS)} or imagefolder:PATH[?size=N].")
]
Arch = Annotated[str, typer.Option(help=", ".join(NAMES))]
Loss = Annotated[str, typer.Option(help=", ".join(LOSSES))]
Padding = Annotated[str, typer.Option(help=" or ".join(PADDINGS))]
Smoothing = Annotated[float, typer.Option(help="s in [0, 1].")]
Gamma = Annotated[float, typer.Option(help="Focal exponent, at least 0.")]
Rate = Annotated[float, typer.Option(help="Peak learning rate.")]
BatchSize = Annotated[int, typer.Option(help="Over all processes.")]
Schedule = Annotated[str, typer.Option(help=" or ".join(SCHEDULES))]
Warmup = Annotated[float, typer.Option(help="Share of steps.")]
Flip = Annotated[bool, typer.Option(help="Random horizontal flips.")]
Amp = Annotated[
    bool | None, typer.Option("--amp/--no-amp", help="bf16 autocast; default: what is quicker.")
]
FreezeBatchNorm = Annotated[bool, typer.Option(help="Batch norm in eval mode.")]
Weight = Annotated[float | None, typer.Option(help="λ of a sum of two losses, such as nls_ls.")]
Margin = Annotated[float | None, typer.Option(help="m of nls_margin and ce_margin, in logits.")]
Tau = Annotated[float | None, typer.Option(help="τ of logitnorm.")]
LabelNoise = Annotated[float | None, typer.Option(help="Share of wrong training labels.")]
NoiseKind = Annotated[str | None, typer.Option(help=" or ".join(KINDS))]
Imbalance = Annotated[
    float | None, typer.Option(help="Images of the first class for one of the last.")
]
Subset = Annotated[float | None, typer.Option(help="Share of the training images that is used.")]


def command(  # one option per field of Recipe
    ctx: typer.Context,
    *,
    grid_name: GridName = None,
    family_name: OwnFamily = None,
    runs: Runs = Path("runs"),
    jobs: Jobs = 1,
    seeds: Seeds = 1,
    finished: Finished = False,
    aberrations: Aberrant = False,
    baselines: Against = False,
    missing: Missing = False,
    out_dir: Out = None,
    resume: Resume = False,
    quiet: Quiet = False,
    download: Download = False,
    dataset: DatasetName = DEFAULT.dataset,
    arch: Arch = DEFAULT.arch,
    loss: Loss = DEFAULT.loss,
    padding: Padding = DEFAULT.padding,
    smoothing: Smoothing = DEFAULT.smoothing,
    gamma: Gamma = DEFAULT.gamma,
    lr: Rate = DEFAULT.lr,
    epochs: int = DEFAULT.epochs,
    batch_size: BatchSize = DEFAULT.batch_size,
    momentum: float = DEFAULT.momentum,
    weight_decay: float = DEFAULT.weight_decay,
    schedule: Schedule = DEFAULT.schedule,
    warmup: Warmup = DEFAULT.warmup,
    flip: Flip = DEFAULT.flip,
    amp: Amp = DEFAULT.amp,
    freeze_bn: FreezeBatchNorm = DEFAULT.freeze_bn,
    seed: int = DEFAULT.seed,
    weight: Weight = DEFAULT.weight,
    margin: Margin = DEFAULT.margin,
    tau: Tau = DEFAULT.tau,
    label_noise: LabelNoise = DEFAULT.label_noise,
    noise_kind: NoiseKind = DEFAULT.noise_kind,
    imbalance: Imbalance = DEFAULT.imbalance,
    subset: Subset = DEFAULT.subset,
) -> None:
    """Train one model into --out (also under torchrun), or a family with --grid or --family.

    Ctrl-C or SIGTERM stops it at the next step, with everything saved; the exit status is then 130
    or 143, and --resume, or the same command for a family, goes on.
    """
    need("train", "tensorboard", "torchmetrics")
    recipe = Recipe(**{name: ctx.params[name] for name in RECIPE})
    further = {name: ctx.params[name] for name in FURTHER}
    options = Options(
        runs, jobs, seeds, finished=finished, download=download, missing=missing, **further
    )
    if grid_name is not None:
        family = choose("grid", grid_name, FAMILIES)
        _check_grid(ctx, family)
        _train_family(family, options, quiet=quiet)
        return
    if family_name is not None:
        _train_own(ctx, family_name, recipe, options, quiet=quiet)
        return
    folder = _checked_out(ctx, out_dir)
    _train_one(recipe, folder, resume=resume, quiet=quiet, download=download)


def _check_grid(ctx: typer.Context, family: Family) -> None:
    set_here = [name for name in (*RECIPE, "out_dir", "family_name") if _given(ctx, name)]
    if set_here:
        raise InvalidInput(
            f"--grid {family.name} sets these itself: {set_here}; leave them out: "
            f"`{family.command}`"
        )
    if all(_given(ctx, name) for name in FURTHER):
        raise InvalidInput(f"expected one of {list(FURTHER)}; got both: each is a command")
    if _given(ctx, "missing") and not any(_given(ctx, name) for name in FURTHER):
        raise InvalidInput(f"--missing belongs to one of {[f'--{name}' for name in FURTHER]}")


def _train_own(
    ctx: typer.Context, name: str, recipe: Recipe, options: Options, *, quiet: bool
) -> None:
    """Train a family of somebody's own images, and measure all but attacks, which take hours."""
    stray = [each for each in ("out_dir", "seed", *FURTHER, "missing") if _given(ctx, each)]
    if stray:
        raise InvalidInput(f"--family {name} has no {stray}: it trains --seeds from 0 on")
    losses = (recipe.loss,) if _given(ctx, "loss") else own.PAIR
    rate = recipe.lr if _given(ctx, "lr") else None
    line = shlex.join(["nls", *sys.argv[1:]])
    _train_family(own.family(name, recipe, line, losses, rate), options, quiet=quiet)
    parts = [part for part in USUAL if part != LONGEST]
    store = Store(options.runs / "evaluate")
    evaluate.measured_family(name, Settings(), options.runs, store, parts)
    err.print(
        f"`nls serve` shows {name}; `nls evaluate --family {name} --runs {options.runs}` measures "
        "it under attack too",
        markup=False,
        soft_wrap=True,
    )


def _checked_out(ctx: typer.Context, out_dir: Path | None) -> Path:
    if out_dir is None:
        raise InvalidInput(
            "expected --out FOLDER for a single run, --family NAME for models that the app shows, "
            f"or --grid {' or '.join(FAMILIES)}; got none of them"
        )
    stray = [name for name in GRID if _given(ctx, name)]
    if stray:
        raise InvalidInput(
            f"{stray} belong to --grid and --family; a single run into --out has none"
        )
    return out_dir


def _given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _train_one(recipe: Recipe, out_dir: Path, *, resume: bool, quiet: bool, download: bool) -> None:
    settings = Settings()
    with (
        stops_raise("what was saved before is whole; go on with --resume"),
        processes() as rank,
        progress_bar(quiet or rank > 0) as bar,
    ):
        recipe.check()
        data = datasets.load(recipe.dataset, settings.data_dir, "train", download=download)
        task = bar.add_task(f"{recipe.loss}-{recipe.padding}", total=None)

        def progress(at: Position, steps: int) -> None:
            accuracy = f" val {100 * at.rows[-1]['val_accuracy']:.2f} %" if at.rows else ""
            bar.update(
                task,
                description=f"epoch {at.epoch + 1}/{recipe.epochs}{accuracy}",
                completed=at.epoch * steps + at.step,
                total=recipe.epochs * steps,
            )

        done = loop.run(
            recipe,
            out_dir,
            data,
            resume=resume,
            device=settings.torch_device(),
            progress=progress,
            log=lambda line: err.print(line, markup=False, soft_wrap=True),
        )
    if rank == 0:
        last = done.rows[-1]
        err.print(
            f"{out_dir}: best validation accuracy {100 * done.best_accuracy:.2f} % in epoch "
            f"{done.best_epoch}; last ECE {100 * last['val_ece']:.2f} %",
            markup=False,
        )


def _train_family(family: Family, options: Options, *, quiet: bool) -> None:
    protocol = protocols.check(family, options)
    with (
        stops_raise("what is finished is kept; the same command goes on"),
        progress_bar(quiet) as bar,
    ):
        tasks: dict[str, Any] = {}

        def progress(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                title = f"{family.name}: {stage} ({protocol.unit})"
                tasks[stage] = bar.add_task(title, total=total)
            bar.update(tasks[stage], completed=done)

        for name, (train, table) in FURTHER.items():
            if getattr(options, name):
                record = train(family, Settings(), options, progress)
                out.print(markdown(table(record)), markup=False, soft_wrap=True)
                return
        made = protocol.train(family, Settings(), options, progress)
    for manifest in made:
        accuracy = 100 * manifest.metrics["accuracy"]
        out.print(f"{manifest.id}: {protocol.accuracy} {accuracy:.2f} %")
