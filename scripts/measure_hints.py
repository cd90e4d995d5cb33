"""Measure when a model of a family should say that a picture is perhaps of none of its classes.

    python scripts/measure_hints.py [FAMILY …]      (make hints; without names: `fashion`)

For families that are measured on a split; those out of fold get their hints with their training.
The scores of a family's `hints` come from the shipped weights. The threshold is that of held-out
pictures of the model's own classes: the validation part of the training split, no test pictures.
Foreign pictures are the test images of `photos` that ship (models/photos/sample.npz), but for its
class of clothing, through the same conversion as an upload: every second one chooses the score,
the others say how well it tells them (AUROC). Writes `ood` in each manifest, and the model cards.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nls_core import families, zoo
from nls_core.data import sample
from nls_core.evidence import measure
from nls_core.images import PREPROCESS
from nls_core.metrics import unfamiliar
from nls_core.settings import Settings
from nls_core.types import Manifest

OUTSIDE, CLOTHING = "photos", "clothing"


def foreign(manifest: Manifest, settings: Settings) -> Tensor:
    """(N, C, H, W) uint8: photographs of other things, as the model would see an upload."""
    found = sample.read(OUTSIDE, settings.models_dir)
    known = next(iter(zoo.available(settings.models_dir, OUTSIDE)))
    clothing = zoo.read_manifest(known, settings.models_dir).classes.index(CLOTHING)
    convert = PREPROCESS[manifest.preprocess]
    pictures = (
        Image.fromarray(np.ascontiguousarray(each.transpose(1, 2, 0)))
        for each, label in zip(found.images, found.labels, strict=True)
        if label != clothing
    )
    x = [convert(each, manifest.input_size, manifest.channels).x for each in pictures]
    return (torch.cat(x) * 255).round().to(torch.uint8)


def entry(manifest: Manifest, settings: Settings) -> tuple[dict[str, Any], dict[str, float]]:
    """What the manifest is to hold as `ood`, and the share that each score would tell."""
    family = families.of(manifest.id)
    model, _ = zoo.load(manifest.id, settings.models_dir)
    held, _ = measure.splits(str(manifest.recipe["dataset"]), settings.data_dir)
    groups = (held.images, foreign(manifest, settings))
    logits = [measure.predict(model, images) for images in groups]

    def seen(name: str) -> list[tuple[Tensor, Tensor]]:
        """What a score is of, of the model's own pictures and of foreign ones."""
        picture = unfamiliar.SCORES[name].picture
        own, outside = [images.float() / 255 for images in groups] if picture else logits
        return [(own, outside)]

    def told(name: str) -> float:
        own, outside = (unfamiliar.scores(name, each) for each in seen(name)[0])
        return float((outside[1::2] < unfamiliar.threshold(own)).double().mean())

    names = family.hints[manifest.loss]
    score, separation = unfamiliar.best(names, seen)
    found = unfamiliar.entry(
        score,
        seen(score)[0][0],
        auroc=separation,
        outside=len(groups[1][1::2]),
        told=told(score),
        command=f"python scripts/measure_hints.py {family.name}",
    )
    return found, {name: round(told(name), 4) for name in names}


def main(names: list[str], settings: Settings) -> None:
    """Measure the hints of some families, and store them."""
    for model_id in (i for name in names for i in zoo.available(settings.models_dir, name)):
        manifest = zoo.read_manifest(model_id, settings.models_dir)
        if not families.of(model_id).hints.get(manifest.loss):
            continue
        found, told = entry(manifest, settings)
        zoo.write_manifest(replace(manifest, ood=found), settings.models_dir)
        print(f"{model_id}: {found}; foreign pictures told: {told}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:] or ["fashion"], Settings())
