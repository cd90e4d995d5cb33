"""A finished analysis as a file: what a page opens with is not computed anew.

The file holds logits, maps and perturbations; the picture, what the models see of it and all that
follows are made again when it is read. Perturbations are kept in steps of ε/127, which no eye and
no 8-bit picture can tell from the whole; predictions and maps are those of the whole ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nls_core import files
from nls_core.analysis import sweep
from nls_core.analysis.results import (
    Analysis,
    AnalysisRequest,
    CamMap,
    FlipPoint,
    ModelAnalysis,
    SweepPoint,
)
from nls_core.errors import CheckpointError
from nls_core.images import PREPROCESS, decode_image, thumbnail
from nls_core.types import FloatArray, Manifest

LEVELS = 127


def write(path: Path, analysis: Analysis) -> None:
    """Write an analysis of an image file to a .npz file."""
    arrays: dict[str, Any] = {}
    for i, model in enumerate(analysis.models):
        points = model.sweep
        seen = [model.prediction, *(p.prediction for p in points)]
        arrays[f"logits{i}"] = np.stack([each.logits for each in seen])  # (1 + E, K)
        arrays[f"cams{i}"] = np.stack([model.cam.values, *(p.cam.values for p in points)])
        moved = [(p.adversarial - analysis.x) / p.epsilon for p in points]
        levels = np.clip(np.round(LEVELS * np.stack(moved)), -LEVELS, LEVELS)
        arrays[f"moved{i}"] = levels.astype(np.int8)  # (E, C, H, W)
        steps = [p.steps for p in points if p.steps is not None]
        if steps:
            arrays[f"steps{i}"] = np.stack(steps)  # (E, S + 1, K)
    entries = {
        "sha256": analysis.sha256,
        "request": asdict(analysis.request),
        "seconds": analysis.seconds,
        "models": [
            {
                "id": m.manifest.id,
                "sha256": m.manifest.sha256,
                "layer": m.cam.layer,
                "target": m.cam.target_class,
                "flip_point": m.flip_point and asdict(m.flip_point),
            }
            for m in analysis.models
        ],
    }
    text = np.frombuffer(json.dumps(entries).encode(), np.uint8)
    files.write_arrays(path, about=text, **arrays)


def about(path: Path) -> dict[str, Any]:
    """What a file says of itself: its picture, request and models.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        entries: dict[str, Any] = files.parse_json(files.read_arrays(path)["about"].tobytes())
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path.name} is damaged: {error}") from error
    return entries


def read(path: Path, image: bytes, manifest: Callable[[str], Manifest]) -> Analysis:
    """Read an analysis of a picture, the bytes of an image file.

    Raises:
        CheckpointError: it is damaged, or of other weights than the manifests name.
    """
    entries = about(path)
    request = _request(entries["request"])
    picture = decode_image(image)
    first = manifest(request.models[0])
    prepared = PREPROCESS[first.preprocess](picture, first.input_size, first.channels)
    models = []
    found = files.read_arrays(path)
    for i, entry in enumerate(entries["models"]):
        known = manifest(entry["id"])
        if known.sha256 != entry["sha256"]:
            raise CheckpointError(f"{path.name} is of other weights of {known.id}")
        arrays = [found[f"{name}{i}"] for name in ("logits", "cams", "moved")]
        model = _model(known, entry, request, prepared.x, arrays)
        models.append(_with_steps(model, found.get(f"steps{i}")))
    return Analysis(
        request=request,
        x=prepared.x[0].numpy(),
        picture=thumbnail(picture),
        geometry=prepared.geometry,
        models=tuple(models),
        notes=prepared.notes,
        seconds=entries["seconds"],
        sha256=hashlib.sha256(image).hexdigest(),
    )


class Shelf:
    """The analyses that ship in a folder; damaged ones, and those of other weights, go."""

    def __init__(self, folder: Path) -> None:
        self._paths: dict[tuple[str, AnalysisRequest], Path] = {}
        for path in folder.glob("opening-*.npz"):
            with contextlib.suppress(CheckpointError):
                entries = about(path)
                self._paths[_name(entries["sha256"], _request(entries["request"]))] = path

    def get(
        self,
        digest: str,
        request: AnalysisRequest,
        image: bytes,
        manifest: Callable[[str], Manifest],
    ) -> Analysis | None:
        """The analysis of a picture, if it is there and of the weights that manifests name.

        It is that of the request but for the strengths, which are all that ship.
        """
        name = _name(digest, request)
        if name not in self._paths:
            return None
        try:
            return read(self._paths[name], image, manifest)
        except CheckpointError:  # it is computed as any other
            del self._paths[name]
            return None

    def clear(self) -> None:
        """Give nothing any more; for those who make them anew."""
        self._paths.clear()


def _name(digest: str, request: AnalysisRequest) -> tuple[str, AnalysisRequest]:
    return digest, replace(request, epsilons=(), flip_point=False)


def _request(entry: dict[str, Any]) -> AnalysisRequest:
    lists = {key: tuple(entry[key]) for key in ("models", "epsilons")}
    return AnalysisRequest(**(entry | lists))


def _model(
    manifest: Manifest,
    entry: dict[str, Any],
    request: AnalysisRequest,
    x: torch.Tensor,
    arrays: list[Any],
) -> ModelAnalysis:
    logits, values, moved = (torch.from_numpy(array) for array in arrays)
    predictions = sweep.predictions(logits, manifest.temperature)
    maps = [CamMap(request.cam, entry["layer"], entry["target"], v.numpy()) for v in values]
    seen = zip(predictions[1:], maps[1:], strict=True)
    points: list[SweepPoint] = []
    for epsilon, levels, each in zip(request.epsilons, moved, seen, strict=True):
        # one by one: all at once take 90 MB for a moment
        swept = (x + levels.float() * epsilon / LEVELS).clamp(0, 1)  # (1, C, H, W)
        one = replace(request, epsilons=(epsilon,))
        points += sweep.points(x, sweep.Swept(swept), one, predictions[0], [each])
    flips = entry["flip_point"] and FlipPoint(**entry["flip_point"])
    return ModelAnalysis(manifest, predictions[0], maps[0], tuple(points), flips)


def _with_steps(model: ModelAnalysis, steps: FloatArray | None) -> ModelAnalysis:
    """A model with the probabilities (E, S + 1, K) along its attack, where they are kept."""
    if steps is None:
        return model
    pairs = zip(model.sweep, steps, strict=True)
    return replace(model, sweep=tuple(replace(point, steps=each) for point, each in pairs))
