"""The parts that a measurement of one model consists of, in the plain dict `PARTS`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nls_core import nets
from nls_core.attacks import ATTACKS
from nls_core.data import datasets
from nls_core.data.corruptions import CORRUPTIONS, SEVERITIES
from nls_core.evidence import map_quality, measure, robustness
from nls_core.metrics import calibration
from nls_core.types import Manifest

MAP_IMAGES = 200
MAP_EPSILON = 4 / 255
MAP_STEPS = 20

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
    data_digest: str  # of the images and labels of `held` and `test`


def _clean(subject: Subject, progress: Progress) -> tuple[dict[str, Any], Arrays]:
    measured = measure.measure(subject.model, subject.held, subject.test, progress=progress)
    found = {
        "metrics": dict(measured.metrics),
        "temperature": measured.temperature,
        "reliability": dict(measured.reliability),
    }
    # the largest is 0: float16 is finest there, so the order of close classes is kept
    logits = measured.logits - measured.logits.amax(1, keepdim=True)
    return found, {"logits": logits.numpy().astype(np.float16)}


def _shift(subject: Subject, progress: Progress) -> tuple[dict[str, Any], Arrays]:
    return {"shift": measure.under_shift(subject.model, subject.test, progress=progress)}, {}


def _outside(subject: Subject, progress: Progress) -> tuple[dict[str, Any], Arrays]:
    known = measure.predict(subject.model, subject.test.images, progress=progress)
    return {"ood": measure.out_of_distribution(subject.model, subject.test, known)}, {}


def _attacks(subject: Subject, progress: Progress) -> tuple[dict[str, Any], Arrays]:
    x, y = subject.x, subject.y
    model = nets.folded(
        subject.model, x[:2]
    )  # as served: gradients take three quarters of the time
    attacked = robustness.attack(model, x, y, progress=progress)
    crafted = attacked.crafted[robustness.CRAFTED]
    logits = [robustness.logits_of(model, images.to(x.device)) for images in crafted]
    found = {
        "robust": {case: shares(right) for case, right in attacked.right.items()},
        "attacked": {
            "ece": [calibration.ece(z.softmax(1), y) for z in logits],
            "mean_confidence": [float(z.softmax(1).amax(1).mean()) for z in logits],
        },
    }
    arrays = {f"right {case}": right.cpu().numpy() for case, right in attacked.right.items()}
    signs = robustness.signs(model, x, y)
    arrays |= {f"sign {name}": each.cpu().numpy() for name, each in signs.items()}
    return found, arrays | {"crafted": crafted.cpu().numpy()}


def _autoattack(subject: Subject, progress: Progress) -> tuple[dict[str, Any], Arrays]:
    model = nets.folded(subject.model, subject.x[:2])
    attacked = robustness.attack(
        model, subject.x, subject.y, cases=robustness.PRESET, progress=progress
    )
    right = attacked.right[robustness.AUTOATTACK]
    found = {robustness.AUTOATTACK: shares(right)}
    return found, {f"right {robustness.AUTOATTACK}": right.cpu().numpy()}


def _maps(subject: Subject, progress: Progress) -> tuple[dict[str, Any], Arrays]:
    x = subject.x[:MAP_IMAGES]
    with torch.no_grad():
        named = subject.model(x).argmax(1)  # the class that the model's own map explains
    moved = ATTACKS["pgd-linf"](subject.model, x, named, epsilon=MAP_EPSILON, steps=MAP_STEPS)
    values = map_quality.measure(subject.model, x, named, moved, progress=progress)
    return {"maps": {name: float(each.double().nanmean()) for name, each in values.items()}}, {}


@dataclass(frozen=True)
class Part:
    """One thing that is measured of a model.

    `run` gives JSON and arrays; `images` is how many images it reports to `progress`; `settings`
    are those that decide its figures besides the weights and the data, as JSON can hold them. A
    part that is not `usual` is measured where it is named, and of shipped seeds.
    """

    run: Callable[[Subject, Progress], tuple[dict[str, Any], Arrays]]
    images: Callable[[Subject], int]
    settings: Callable[[Subject], Mapping[str, Any]]
    usual: bool = True


def _attack_settings(subject: Subject) -> Mapping[str, Any]:
    return {
        "images": len(subject.y),
        "epsilons": robustness.EPSILONS,
        "cases": {name: asdict(case) for name, case in robustness.CASES.items()},
        "crafted": robustness.CRAFTED,
        "signs": [robustness.VANISHED, robustness.FAR, robustness.FAR_STEPS],
    }


def _preset_settings(subject: Subject) -> Mapping[str, Any]:
    return {
        "images": len(subject.y),
        "epsilons": robustness.EPSILONS,
        "cases": {name: asdict(case) for name, case in robustness.PRESET.items()},
    }


def _map_settings(subject: Subject) -> Mapping[str, Any]:
    return {
        "images": min(MAP_IMAGES, len(subject.y)),
        "epsilon": MAP_EPSILON,
        "steps": MAP_STEPS,
        "metrics": list(map_quality.ALL),
    }


LONGEST = "attacks"  # hours on large images
PARTS: dict[str, Part] = {
    "clean": Part(
        _clean,
        lambda subject: len(subject.held) + len(subject.test),
        lambda _: {"bins": calibration.BINS},
    ),
    "shift": Part(
        _shift,
        lambda subject: len(CORRUPTIONS) * len(SEVERITIES) * len(subject.test),
        lambda _: {
            "corruptions": list(CORRUPTIONS),
            "severities": SEVERITIES,
            "bins": calibration.BINS,
        },
    ),
    "ood": Part(
        _outside,
        lambda subject: len(subject.test),
        lambda _: {"outside": list(datasets.OUTSIDE)},
    ),
    LONGEST: Part(
        _attacks,
        lambda subject: len(robustness.CASES) * len(robustness.EPSILONS) * len(subject.y),
        _attack_settings,
    ),
    "autoattack": Part(
        _autoattack,
        lambda subject: len(robustness.EPSILONS) * len(subject.y),
        _preset_settings,
        usual=False,
    ),
    "maps": Part(_maps, lambda subject: min(MAP_IMAGES, len(subject.y)), _map_settings),
}
USUAL = [name for name, part in PARTS.items() if part.usual]


def digest(*parts: bytes) -> str:
    """20 hex digits of what decides a kept part."""
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())  # of each: no part runs into the next
    return found.hexdigest()[:20]


def data_digest(*splits: datasets.Data) -> str:
    """A digest of the images and labels of splits: a data set may change under its name."""
    return digest(*(each.numpy().tobytes() for s in splits for each in (s.images, s.labels)))


def shares(right: Tensor) -> list[float]:
    """The share of each row of right answers (E, N) bool."""
    return [float(share) for share in right.double().mean(1)]
