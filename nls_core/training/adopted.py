"""Models made elsewhere, taken into the models folder: measured where there are labelled images."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nls_core import nets, zoo
from nls_core.data import datasets
from nls_core.errors import InvalidInput, choose
from nls_core.evidence import measure
from nls_core.losses import LOSSES
from nls_core.metrics import unfamiliar
from nls_core.settings import Settings
from nls_core.training import libraries
from nls_core.training.libraries import Stated
from nls_core.training.publish import LIBRARIES, Outcome, publish
from nls_core.types import Manifest

FAMILY = "own"  # of models whose id nobody chose


@dataclass(frozen=True)
class Adoption:
    """What is taken in, and as what.

    `arch` is `<library>:<name>`; `weights` a safetensors file, None for those that the library
    fetches; `data` a data set to measure it on, by the names of `datasets.load`, or None; `classes`
    the names of the logits, in order, where neither the weights nor `data` tells them; `loss` the
    one it was trained with, a key of LOSSES.
    """

    arch: str
    model_id: str
    weights: Path | None = None
    data: str | None = None
    classes: tuple[str, ...] = ()
    loss: str = "ce"
    size: int | None = None
    command: str = ""


def default_id(arch: str) -> str:
    """`own/<name>`, of what an id may hold."""
    return f"{FAMILY}/{re.sub('[^a-z0-9_]+', '-', arch.partition(':')[2].lower()).strip('-')}"


def adopt(
    wanted: Adoption, settings: Settings, progress: Callable[[int], None] = lambda done: None
) -> Manifest:
    """Store a model made elsewhere, with all figures that its data allow.

    Args:
        wanted: what to take in.
        settings: where models and data are.
        progress: called with the number of images measured.

    Raises:
        InvalidInput: the names of classes do not tell which logit is whose.
        UnknownName, ExtraMissing, CheckpointError: as `libraries`.
        DatasetMissing: there are no such data.
    """
    choose("loss", wanted.loss, LOSSES)
    known = libraries.stated(wanted.arch)
    size = wanted.size or known.size
    splits = None if wanted.data is None else _splits(wanted.data, size, settings)
    classes = _classes(wanted, known, () if splits is None else splits[1].classes)
    if wanted.weights is None:
        net = libraries.pretrained(wanted.arch)
    else:
        net = libraries.with_weights(wanted.arch, len(classes), wanted.weights)
    model = nets.Classifier(net.float(), known.mean, known.std)
    model.to(settings.torch_device(), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    manifest = _manifest(wanted, known, classes, size)
    _check_logits(model, manifest)
    if splits is None:
        return zoo.store(model.net, manifest, settings.models_dir)
    held, test = (relabelled(each, classes, known.synsets) for each in splits)
    measured = measure.measure(model, held, test, progress=progress)
    manifest = replace(manifest, ood=_hint(model, held, wanted.command))
    return publish(Outcome(manifest, model, measured), settings.models_dir)


def _splits(name: str, size: int, settings: Settings) -> tuple[datasets.Data, datasets.Data]:
    sized = f"{name}?size={size}" if name.startswith("imagefolder:") and "?" not in name else name
    held, test = measure.splits(sized, settings.data_dir)
    if tuple(test.images.shape[1:]) != (3, size, size):
        raise InvalidInput(
            f"expected images of (3, {size}, {size}); those of {name} are "
            f"{tuple(test.images.shape[1:])}"
        )
    return held, test


def _classes(wanted: Adoption, known: Stated, of_data: Sequence[str]) -> tuple[str, ...]:
    """The names of the logits: as given, else of the library's own weights, else of the data."""
    if wanted.classes:
        return wanted.classes
    found = tuple(of_data) if wanted.weights and of_data else known.classes
    if len(found) < 2:
        raise InvalidInput(
            f"expected the names of the classes of {wanted.arch}, in the order of its logits: give "
            "--classes FILE with one a line, or --data with their folders"
        )
    return found


def _check_logits(model: nets.Classifier, manifest: Manifest) -> None:
    shape = (1, 3, manifest.input_size, manifest.input_size)
    with torch.no_grad():
        logits = model(torch.zeros(shape, device=model.mean.device))
    if tuple(logits.shape) != (1, len(manifest.classes)):
        raise InvalidInput(
            f"expected {len(manifest.classes)} logits, one a class; {manifest.arch} gives "
            f"{tuple(logits.shape[1:])}"
        )


def relabelled(
    data: datasets.Data, classes: Sequence[str], synsets: Sequence[str]
) -> datasets.Data:
    """Images with the places of their classes among a model's, by name or by synset.

    Raises:
        InvalidInput: a class of the data is none of the model's.
    """
    places = {name: place for names in (synsets, classes) for place, name in enumerate(names)}
    loose = {_loosely(name): place for name, place in places.items()}
    unknown = [name for name in data.classes if _loosely(name) not in loose]
    if unknown:
        raise InvalidInput(
            f"these classes of {data.name} are none of the model's {len(classes)} "
            f"({', '.join(classes[:3])}, …): {unknown[:5]}"
        )
    place = torch.tensor([loose[_loosely(name)] for name in data.classes])
    return replace(data, labels=place[data.labels], classes=tuple(classes))


def _loosely(name: str) -> str:
    """A name for comparison: 'Tench, Tinca tinca', 'tench' and 'TENCH' are one."""
    return name.partition(",")[0].replace("_", " ").strip().casefold()


def _manifest(wanted: Adoption, known: Stated, classes: tuple[str, ...], size: int) -> Manifest:
    recipe: dict[str, Any] = {
        "dataset": wanted.data or "",
        "made": "elsewhere",
        "weights": wanted.weights.name if wanted.weights else "pretrained",
        "licence": "other" if wanted.weights else known.licence,
    }
    return Manifest(
        id=wanted.model_id,
        arch=wanted.arch,
        padding="zero",
        loss=wanted.loss,
        loss_parameters={},
        classes=classes,
        channels=3,
        input_size=size,
        mean=tuple(round(value, 6) for value in known.mean),
        std=tuple(round(value, 6) for value in known.std),
        preprocess="center-crop",
        temperature=1.0,
        sha256="",
        seed=0,
        recipe=recipe,
        command=wanted.command,
        created_with={name: version(name) for name in LIBRARIES},
    )


def _hint(model: nets.Classifier, held: datasets.Data, command: str) -> dict[str, Any]:
    """'Perhaps none of my classes': the score that tells `datasets.OUTSIDE` best."""
    shape = (int(held.images.shape[1]), int(held.images.shape[2]), int(held.images.shape[3]))
    own = measure.predict(model, held.images)
    outside = torch.cat([draw(shape, 0)[:200] for draw in datasets.OUTSIDE.values()])
    foreign = measure.predict(model, outside)
    of_logits = [name for name, score in unfamiliar.SCORES.items() if not score.picture]
    score, told = unfamiliar.best(of_logits, lambda name: [(own, foreign)])
    return unfamiliar.entry(score, own, auroc=told, outside=len(foreign[1::2]), command=command)
