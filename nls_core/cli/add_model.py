"""`nls add-model`: a model made elsewhere, into the models folder, where the app finds it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nls_core import files
from nls_core.cli.terminal import out, progress_bar
from nls_core.errors import CheckpointError, InvalidInput, need
from nls_core.losses import LOSSES
from nls_core.nets import LIBRARIES
from nls_core.settings import Settings
from nls_core.types import Manifest

HUB = "hub:"
FORMS = (*(f"{library}:NAME" for library in LIBRARIES), f"{HUB}USER/REPOSITORY", "FOLDER")


def command(
    source: Annotated[str, typer.Argument(help=", ".join(FORMS))],
    *,
    model_id: Annotated[
        str | None, typer.Option("--id", help="<family>/<name>; by default own/ and its name.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A safetensors file; without it, the library fetches its own."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled images to measure it on, such as imagefolder:PATH."),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="The names of its classes, one a line, in their order.")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help=f"What it was trained with: {', '.join(LOSSES)}.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Edge of an input in pixels, where it is another.")
    ] = None,
) -> None:
    """Take in a model made elsewhere: a network of a library, or a folder as in models/.

    With labelled images it gets its temperature, its reliability, and a threshold for pictures of
    no class; without, pages say what is missing.
    """
    if data is not None:
        need("train", "torchmetrics")
    settings = Settings()
    names = _lines(classes) if classes else None
    given = {"weights": weights, "data": data, "classes": names, "loss": loss, "size": size}
    stated: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if source.partition(":")[0] in LIBRARIES:
        manifest = _of_library(source, model_id, stated, settings)
    elif stated:
        raise InvalidInput(
            f"expected {', '.join(f'--{name}' for name in stated)} with {' or '.join(FORMS[:-2])} "
            f"only; a folder or a repository says it itself; got {source!r}"
        )
    else:
        manifest = _whole(source, model_id, settings)
    out.print(f"{manifest.id}: {_figures(manifest)}", markup=False, soft_wrap=True)


def _of_library(
    arch: str, model_id: str | None, stated: dict[str, Any], settings: Settings
) -> Manifest:
    from nls_core.training import adopted

    named = model_id or adopted.default_id(arch)
    line = shlex.join(["nls", *sys.argv[1:]])
    wanted = adopted.Adoption(arch, named, **stated, command=line)
    with progress_bar() as bar:
        task = bar.add_task(f"{wanted.model_id}: images", total=None)
        return adopted.adopt(wanted, settings, lambda done: bar.advance(task, done))


def _whole(source: str, model_id: str | None, settings: Settings) -> Manifest:
    from nls_core.zoo import hub

    folder = hub.fetched(source[len(HUB) :]) if source.startswith(HUB) else Path(source)
    if not folder.is_dir():
        raise InvalidInput(f"expected {', '.join(FORMS)}; there is no folder {source!r}")
    return hub.take(folder, settings.models_dir, model_id)


def _lines(path: Path) -> tuple[str, ...]:
    """The lines of a text file that are not empty."""
    try:
        lines = files.read_bytes(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is no text in UTF-8: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


def _figures(manifest: Manifest) -> str:
    """What was measured, or what is missing for that."""
    if "accuracy" not in manifest.metrics:
        return "stored; without --data it has no temperature, reliability or hint of its own"
    accuracy, ece = (100 * manifest.metrics[key] for key in ("accuracy", "ece"))
    return f"accuracy {accuracy:.2f} %, ECE {ece:.2f} %, T {manifest.temperature:.3f}"
