"""What a model is worth on a data set: accuracy and calibration, before and after temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nls_core.data import corruptions, datasets
from nls_core.errors import InvalidInput
from nls_core.metrics import calibration, conformal
from nls_core.metrics.temperature import fit_temperature, with_temperature
from nls_core.types import Manifest

BATCH = 500


@dataclass(frozen=True)
class Measured:
    """Figures of one model on one test split; fractions, ECE with 15 equal-width bins."""

    metrics: Mapping[str, Any]
    temperature: float
    reliability: Mapping[str, Any]  # 'plain' and 'calibrated': calibration.Reliability.to_dict()
    limits: Mapping[str, float]  # for sets and abstaining: conformal.entry
    logits: Tensor = field(compare=False, repr=False)  # (N, K) float32, of the test split


@torch.no_grad()
def predict(
    model: nn.Module,
    images: Tensor,
    *,
    amp: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Logits (N, K) in float32 of uint8 images (N, C, H, W); the model is left in eval mode.

    `progress` is called with the number of images of each batch.
    """
    model.eval()
    device = next(model.parameters()).device
    parts: list[Tensor] = []
    for batch in torch.split(images, datasets.batch_size(images.shape[1:], BATCH)):
        x = (batch.to(device).float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            parts.append(model(x).float().cpu())
        progress(len(batch))
    return torch.cat(parts)


def measure(
    model: nn.Module,
    held: datasets.Data,
    test: datasets.Data,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Measured:
    """Fit the temperature on `held` (validation), then measure on `test`.

    `progress` is called with the number of images done.
    """
    temperature = fit_temperature(predict(model, held.images, progress=progress), held.labels)
    logits = predict(model, test.images, progress=progress)
    calibrated = with_temperature(logits, temperature)
    return figures(logits, calibrated, test.labels, temperature)


def measure_out_of_fold(logits: Tensor, labels: Tensor, folds: Tensor) -> Measured:
    """Figures of answers out of fold; the temperature of a fold is fitted on the other folds.

    Args:
        logits: (N, K), of each image by a network that was trained on the other folds.
        labels: (N,).
        folds: (N,) int64.
    """
    calibrated = torch.zeros_like(logits)
    for fold in sorted(set(folds.tolist())):
        held = folds == fold
        temperature = fit_temperature(logits[~held], labels[~held])
        calibrated[held] = with_temperature(logits[held], temperature)
    return figures(logits, calibrated, labels, fit_temperature(logits, labels))


def figures(logits: Tensor, calibrated: Tensor, labels: Tensor, temperature: float) -> Measured:
    """All figures of answers that are there already.

    Args:
        logits: (N, K).
        calibrated: (N, K) probabilities after a temperature that these images did not choose.
        labels: (N,).
        temperature: the model's.
    """
    from nls_core.metrics import selective  # noqa: PLC0415 - slow to import, and training needs none of it

    probs = logits.softmax(1)
    metrics: dict[str, Any] = {"images": len(labels)}
    metrics |= {name: f(probs, labels) for name, f in calibration.METRICS.items()}
    for name, score in selective.METRICS.items():
        value = score(probs, labels)
        metrics[name] = value if math.isfinite(value) else None  # JSON knows no NaN
    metrics["mean_confidence"] = float(probs.amax(1).mean())
    metrics |= {
        f"{name}_calibrated": calibration.METRICS[name](calibrated, labels)
        for name in ("ece", "adaptive_ece", "brier", "nll")
    }
    reliability = {
        "plain": calibration.reliability(probs, labels).to_dict(),
        "calibrated": calibration.reliability(calibrated, labels).to_dict(),
    }
    return Measured(metrics, temperature, reliability, conformal.entry(probs, labels), logits)


def under_shift(
    model: nn.Module,
    test: datasets.Data,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, list[dict[str, float]]]:
    """Accuracy and ECE under every corruption, severity 1 to 5 (arXiv 1903.12261).

    Returns:
        Corruption -> a row for each severity with 'severity', 'accuracy', 'ece' and
        'mean_confidence'. `progress` is called with the number of images done.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    for name in corruptions.CORRUPTIONS:
        rows[name] = []
        for severity in corruptions.SEVERITIES:
            images = corruptions.corrupt(test.images, name, severity)
            probs = predict(model, images, progress=progress).softmax(1)
            row = {"severity": float(severity), "mean_confidence": float(probs.amax(1).mean())}
            row |= {
                key: calibration.METRICS[key](probs, test.labels) for key in ("accuracy", "ece")
            }
            rows[name].append(row)
    return rows


def splits(
    name: str, data_dir: Path, *, download: bool = False
) -> tuple[datasets.Data, datasets.Data]:
    """The validation part of the training split, and the test split, of a data set."""
    train = datasets.load(name, data_dir, "train", download=download)
    held = train.take(datasets.hold_out(train)[1])
    return held, datasets.load(name, data_dir, "test", download=download)


def out_of_distribution(
    model: nn.Module, test: datasets.Data, known: Tensor, *, seed: int = 0
) -> dict[str, float]:
    """AUROC of confidence between the test images and images of `datasets.OUTSIDE`.

    Args:
        model: as in `predict`.
        test: gives the shape of an image.
        known: (N, K) logits of the test images.
        seed: fixes the drawn noise.

    Returns:
        Name of the outside source -> AUROC in [0, 1]; 0.5 is chance.
    """
    from nls_core.metrics import selective  # noqa: PLC0415 - see `measure`

    shape = tuple(test.images.shape[1:])
    return {
        name: selective.ood_auroc(
            known.softmax(1), predict(model, draw((shape[0], shape[1], shape[2]), seed)).softmax(1)
        )
        for name, draw in datasets.OUTSIDE.items()
    }


def check_fits(manifest: Manifest, test: datasets.Data) -> None:
    """Raise InvalidInput unless the data set's images and classes are those of the model."""
    shape = (manifest.channels, manifest.input_size, manifest.input_size)
    got = tuple(test.images.shape[1:])
    if got != shape or test.classes != manifest.classes:  # labels are positions: the order counts
        raise InvalidInput(
            f"{manifest.id} expects images of {shape} and the classes {list(manifest.classes)}; "
            f"{test.name} has images of {got} and {list(test.classes)}"
        )
