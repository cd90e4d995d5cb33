"""All that is measured of a model, part by part, and kept: what is measured is not measured again.

A part is kept under the checksum of the weights and a digest of the images and settings, so that
it is found again wherever the same weights lie, and never taken for what others would give.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from nls_core import families, files, zoo
from nls_core.errors import CheckpointError, InvalidInput, choose
from nls_core.evidence import masking, measure, robustness
from nls_core.evidence.parts import PARTS, Arrays, Progress, Subject, data_digest, digest, shares
from nls_core.settings import Settings
from nls_core.types import Manifest

SCHEMA = 2
SURROGATES = "surrogates"  # folder in a models folder: a cross-entropy model of another seed
SURROGATE = "surrogate"  # its name among the sources of transfer


@dataclass(frozen=True)
class Store:
    """The folder where measured parts are kept."""

    folder: Path

    def part(
        self, subject: Subject, part: str, progress: Progress
    ) -> tuple[dict[str, Any], Arrays]:
        """Measure a part, or read what the same weights, images and settings gave before."""
        chosen = choose("part", part, PARTS)
        settings = {"schema": SCHEMA} | dict(chosen.settings(subject))
        key = digest(subject.data_digest.encode(), json.dumps(settings, sort_keys=True).encode())
        stem = self.folder / subject.test.name / subject.manifest.sha256[:20]
        found_file, arrays_file = stem / f"{part}-{key}.json", stem / f"{part}-{key}.npz"
        if found_file.exists():
            try:
                return files.read_json(found_file), files.read_arrays(arrays_file)
            except CheckpointError as error:
                raise CheckpointError(f"{error}; remove {found_file} to measure it anew") from error
        found, arrays = chosen.run(subject, progress)
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
        InvalidInput: models of several data sets, or that do not fit the one given, or that were
            trained on all of it: a family measured out of fold holds no images back.
    """
    loaded = [zoo.load(i, settings.models_dir, settings.torch_device()) for i in ids]
    names = {dataset or str(manifest.recipe["dataset"]) for _, manifest in loaded}
    if len(names) != 1:
        raise InvalidInput(f"expected models of one data set; got {sorted(names) or 'none'}")
    name = names.pop()
    for _, manifest in loaded:
        _check_unseen(manifest, name)
    held, test = measure.splits(name, settings.data_dir, download=download)
    x, y = robustness.subset(test, robustness.IMAGES)
    of_data, device = data_digest(held, test), settings.torch_device()
    made = {}
    for model, manifest in loaded:
        measure.check_fits(manifest, test)
        made[manifest.id] = Subject(
            manifest, model, held, test, x.to(device), y.to(device), of_data
        )
    return made


def _check_unseen(manifest: Manifest, dataset: str) -> None:
    out_of_fold = families.protocol_of(manifest.id) == families.OUT_OF_FOLD
    if out_of_fold and dataset == manifest.recipe.get("dataset"):
        raise InvalidInput(
            f"{manifest.id} was trained on all of {dataset}, so figures of its weights there "
            f"would flatter it; `nls evaluate {manifest.id}` gives those out of fold"
        )


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
    more: Mapping[str, Sequence[str]] | None = None,
    progress: Callable[[str, str, int], None] = lambda model, part, done: None,
) -> dict[str, Measurements]:
    """Measure all parts of all models; with 'attacks', also how attacks transfer among them.

    Args:
        group: models of one data set, by name.
        parts: keys of `PARTS`.
        store: where parts are kept.
        others: not measured, but their attacks are tried on all of the group too, by name.
        more: further parts of some of the models, by name.
        progress: called with the model's name, the part and the number of images done.
    """
    result: dict[str, Measurements] = {}
    crafted: dict[str, Tensor] = {}
    for name, subject in group.items():
        found: dict[str, Any] = {}
        arrays: Arrays = {}
        for part in dict.fromkeys([*parts, *(more or {}).get(name, ())]):
            more_found, more_arrays = store.part(subject, part, partial(progress, name, part))
            found, arrays = found | more_found, arrays | more_arrays
        if "crafted" in arrays:
            crafted[name] = torch.from_numpy(arrays.pop("crafted"))
        result[name] = Measurements(subject.manifest, found, arrays)
    for name, subject in (others or {}).items() if "attacks" in parts else ():
        _, made = store.part(subject, "attacks", partial(progress, name, "attacks"))
        crafted[name] = torch.from_numpy(made["crafted"])
    for name, subject in group.items() if crafted else ():
        result[name] = _with_transfer(name, subject, result[name], crafted)
    return result


def _with_transfer(
    name: str, subject: Subject, evidence: Measurements, crafted: Mapping[str, Tensor]
) -> Measurements:
    """Add the accuracy on others' images, the worst case, and the signs of masking.

    The preset of AutoAttack, where it was measured, is a case beside the worst, not part of it.
    """
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
    signs = {
        key.removeprefix("sign "): torch.from_numpy(each)
        for key, each in evidence.arrays.items()
        if key.startswith("sign ")
    }
    found = dict(evidence.found)
    accuracy = {case: shares(right) for case, right in own.items()}
    if robustness.AUTOATTACK in found:
        accuracy[robustness.AUTOATTACK] = found.pop(robustness.AUTOATTACK)
    found |= {
        "robust": accuracy,
        "transfer": {source: shares(right) for source, right in moved.items()},
        "masking": masking.of_run(own, signs),
    }
    arrays = dict(evidence.arrays) | {f"right {case}": right.numpy() for case, right in own.items()}
    return Measurements(evidence.manifest, found, arrays)


def to_json(evidence: Measurements) -> dict[str, Any]:
    """What a report holds of one model."""
    manifest = evidence.manifest
    kept = asdict(manifest)
    named = {key: kept[key] for key in ("id", "loss", "padding", "seed", "sha256")}
    return named | dict(evidence.found)
