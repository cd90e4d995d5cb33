"""All that is measured of a model, part by part, and kept: what is measured is not measured again.

A part is kept under the checksum of the weights, so that it is found again wherever the same
weights lie, and never taken for those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nls_core import files, zoo
from nls_core.attacks import ATTACKS
from nls_core.data import datasets
from nls_core.data.corruptions import CORRUPTIONS, SEVERITIES
from nls_core.errors import CheckpointError, InvalidInput, choose
from nls_core.evidence import map_quality, measure, robustness
from nls_core.metrics import calibration
from nls_core.settings import Settings
from nls_core.types import Manifest

SCHEMA = 2
SURROGATES = "surrogates"  # folder in a models folder: a cross-entropy model of another seed
SURROGATE = "surrogate"  # its name among the sources of transfer
MAP_IMAGES = 200
MAP_EPSILON = 4 / 255

Arrays = dict[str, NDArray[Any]]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Subject:
    """A model and what it is measured on; `x` (M, C, H, W) in [0, 1] and `y` are attacked."""

    manifest: Manifest
    model: nn.Module
    held: datasets.Data
    test: datasets.Data
    x: Tensor
    y: Tensor


def _clean(subject: Subject, report: Progress) -> tuple[dict[str, Any], Arrays]:
    measured = measure.measure(subject.model, subject.held, subject.test, report=report)
    found = {
        "metrics": dict(measured.metrics),
        "temperature": measured.temperature,
        "reliability": dict(measured.reliability),
    }
    # the largest is 0: float16 is finest there, so the order of close classes is kept
    logits = measured.logits - measured.logits.amax(1, keepdim=True)
    return found, {"logits": logits.numpy().astype(np.float16)}


def _shift(subject: Subject, report: Progress) -> tuple[dict[str, Any], Arrays]:
    return {"shift": measure.under_shift(subject.model, subject.test, report=report)}, {}


def _outside(subject: Subject, report: Progress) -> tuple[dict[str, Any], Arrays]:
    known = measure.predict(subject.model, subject.test.images, report=report)
    return {"ood": measure.out_of_distribution(subject.model, subject.test, known)}, {}


def _attacks(subject: Subject, report: Progress) -> tuple[dict[str, Any], Arrays]:
    model, x, y = subject.model, subject.x, subject.y
    attacked = robustness.attack(model, x, y, report=report)
    logits = [robustness.logits_of(model, images.to(x.device)) for images in attacked.crafted]
    found = {
        "robust": {case: _shares(right) for case, right in attacked.right.items()},
        "signs": robustness.signs(model, x, y),
        "attacked": {
            "ece": [calibration.ece(z.softmax(1), y) for z in logits],
            "mean_confidence": [float(z.softmax(1).amax(1).mean()) for z in logits],
        },
    }
    arrays = {f"right {case}": right.numpy() for case, right in attacked.right.items()}
    return found, arrays | {"crafted": attacked.crafted.numpy()}


def _maps(subject: Subject, report: Progress) -> tuple[dict[str, Any], Arrays]:
    x = subject.x[:MAP_IMAGES]
    with torch.no_grad():
        named = subject.model(x).argmax(1)  # the class that the model's own map explains
    moved = ATTACKS["pgd-linf"](subject.model, x, named, epsilon=MAP_EPSILON, steps=20)
    values = map_quality.measure(subject.model, x, named, moved, report=report)
    return {"maps": {name: float(each.double().nanmean()) for name, each in values.items()}}, {}


PARTS: dict[str, Callable[[Subject, Progress], tuple[dict[str, Any], Arrays]]] = {
    "clean": _clean,
    "shift": _shift,
    "ood": _outside,
    "attacks": _attacks,
    "maps": _maps,
}


def work(part: str, held: int, test: int, attacked: int) -> int:
    """How many images a part reports, for progress."""
    return {
        "clean": held + test,
        "shift": len(CORRUPTIONS) * len(SEVERITIES) * test,
        "ood": test,
        "attacks": len(robustness.CASES) * len(robustness.EPSILONS) * attacked,
        "maps": min(MAP_IMAGES, attacked),
    }[part]


def _shares(right: Tensor) -> list[float]:
    return [float(share) for share in right.double().mean(1)]


@dataclass(frozen=True)
class Store:
    """The folder where measured parts are kept."""

    folder: Path

    def part(self, subject: Subject, part: str, report: Progress) -> tuple[dict[str, Any], Arrays]:
        """Measure a part, or read what was measured of the same weights and images before."""
        run = choose("part", part, PARTS)
        key = f"{subject.manifest.sha256[:20]}-{len(subject.test)}-{len(subject.y)}"
        stem = self.folder / subject.test.name / key
        found_file, arrays_file = stem / f"{part}.json", stem / f"{part}.npz"
        if found_file.exists():
            try:
                return files.read_json(found_file), files.read_arrays(arrays_file)
            except CheckpointError as error:
                raise CheckpointError(f"{error}; remove {stem}") from error
        found, arrays = run(subject, report)
        files.write_arrays(arrays_file, **arrays)
        files.write_json(found_file, found, indent=None)  # last: it says that both are there
        return found, arrays


@dataclass(frozen=True)
class Measurements:
    """What was measured of one model: `found` as JSON holds it, and per-image arrays."""

    manifest: Manifest
    found: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def subjects(
    ids: Sequence[str], settings: Settings, dataset: str | None = None, *, download: bool = False
) -> dict[str, Subject]:
    """Load models and the data that they are measured on.

    Args:
        ids: of one data set, unless `dataset` is given.
        settings: where models and data are.
        dataset: None takes the models' own.
        download: fetch a missing data set, where its source allows.

    Raises:
        InvalidInput: models of several data sets, or that do not fit the one given.
    """
    loaded = [zoo.load(i, settings.models_dir, settings.torch_device()) for i in ids]
    names = {dataset or str(manifest.recipe["dataset"]) for _, manifest in loaded}
    if len(names) != 1:
        raise InvalidInput(f"expected models of one data set; got {sorted(names) or 'none'}")
    held, test = measure.splits(names.pop(), settings.data_dir, download=download)
    x, y = robustness.subset(test, robustness.IMAGES)
    made = {}
    for model, manifest in loaded:
        measure.check_fits(manifest, test)
        device = settings.torch_device()
        made[manifest.id] = Subject(manifest, model, held, test, x.to(device), y.to(device))
    return made


def elsewhere(subject: Subject, model_id: str, folder: Path) -> Subject:
    """A model of another models folder, on what `subject` is measured on."""
    model, manifest = zoo.load(model_id, folder, next(subject.model.parameters()).device)
    return replace(subject, manifest=manifest, model=model)


def surrogate(subject: Subject, folder: Path) -> dict[str, Subject]:
    """'surrogate': the family's cross-entropy model in another models folder, if it is there."""
    model_id = f"{subject.manifest.family}/ce-zero"
    there = model_id in zoo.available(folder)
    return {SURROGATE: elsewhere(subject, model_id, folder)} if there else {}


def gather(
    group: Mapping[str, Subject],
    parts: Sequence[str],
    store: Store,
    *,
    others: Mapping[str, Subject] | None = None,
    report: Callable[[str, str, int], None] = lambda model, part, done: None,
) -> dict[str, Measurements]:
    """Measure all parts of all models; with 'attacks', also how attacks transfer among them.

    Args:
        group: models of one data set, by name.
        parts: keys of `PARTS`.
        store: where parts are kept.
        others: not measured, but their attacks are tried on all of the group too, by name.
        report: called with the model's name, the part and the number of images done.
    """
    result: dict[str, Measurements] = {}
    crafted: dict[str, Tensor] = {}
    for name, subject in group.items():
        found: dict[str, Any] = {}
        arrays: Arrays = {}
        for part in parts:
            more = store.part(subject, part, lambda n, a=name, b=part: report(a, b, n))  # type: ignore[misc]
            found, arrays = found | more[0], arrays | more[1]
        if "crafted" in arrays:
            crafted[name] = torch.from_numpy(arrays.pop("crafted"))
        result[name] = Measurements(subject.manifest, found, arrays)
    for name, subject in (others or {}).items() if "attacks" in parts else ():
        _, made = store.part(subject, "attacks", lambda n, a=name: report(a, "attacks", n))  # type: ignore[misc]
        crafted[name] = torch.from_numpy(made["crafted"])
    for name, subject in group.items() if crafted else ():
        result[name] = _with_transfer(name, subject, result[name], crafted)
    return result


def _with_transfer(
    name: str, subject: Subject, evidence: Measurements, crafted: Mapping[str, Tensor]
) -> Measurements:
    """Add the accuracy on others' images, the worst case, and the verdict on masking."""
    device = subject.x.device
    moved = {
        source: robustness.transferred(subject.model, images.to(device), subject.y).cpu()
        for source, images in crafted.items()
        if source != name
    }
    own = {case: torch.from_numpy(evidence.arrays[f"right {case}"]) for case in robustness.CASES}
    if moved:
        own[robustness.TRANSFER] = torch.stack(list(moved.values())).all(0)
    own[robustness.WORST] = torch.stack(list(own.values())).all(0)
    accuracy = {case: _shares(right) for case, right in own.items()}
    shown = robustness.masking(accuracy, evidence.found["signs"])
    found = dict(evidence.found) | {
        "robust": accuracy,
        "transfer": {source: _shares(right) for source, right in moved.items()},
        "masking": {
            "verdict": "masking" if any(shown.values()) else "no sign",
            "signs": [sign for sign, there in shown.items() if there],
            **evidence.found["signs"],
        },
    }
    del found["signs"]
    arrays = dict(evidence.arrays) | {f"right {case}": right.numpy() for case, right in own.items()}
    return Measurements(evidence.manifest, found, arrays)


def to_json(evidence: Measurements) -> dict[str, Any]:
    """What a report holds of one model."""
    manifest = evidence.manifest
    kept = asdict(manifest)
    named = {key: kept[key] for key in ("id", "loss", "padding", "seed", "sha256")}
    return named | dict(evidence.found)
