"""Class activation maps: where a model looks for a class, in the method's own units.

Six published methods, without a per-map min-max scaling and at the layer's own resolution, so that
maps of several models stay comparable. The grad-cam library, which has them too, runs a whole
backward into the shared weights' `.grad`, and its `with` block swallows IndexError. Here one
forward gives logits and activations, and the gradient goes back from the logits to the layer and
no further (`recording`).

A map belongs to what the layer itself returns, before a later in-place operation (densenet's
last ReLU) changes it. Not thread-safe: a model may run one map at a time.

`methods` holds the formulas and the registry `CAMS`, `layers` what a map can be taken at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from nls_core.cams.layers import (
    Shape,
    choose_layer,
    default_layer,
    layer_names,
    layer_shapes,
    probe,
)
from nls_core.cams.methods import CAMS, Cam, Progress, Taken, quick
from nls_core.cams.recording import Seen, maps_of, record
from nls_core.errors import InvalidInput, choose
from nls_core.nets import frozen
from nls_core.types import FloatArray

__all__ = [
    "CAMS",
    "Cam",
    "Seen",
    "Shape",
    "Taken",
    "activation_maps",
    "border_mass",
    "default_layer",
    "layer_names",
    "layer_shapes",
    "maps_of",
    "quick",
    "record",
]


def activation_maps(
    model: nn.Module,
    x: Tensor,
    target_class: int | Sequence[int] | Tensor | NDArray[np.integer[Any]],
    *,
    method: str = "gradcam",
    layer: str | None = None,
    progress: Progress | None = None,
) -> FloatArray:
    """Where the model looks for a class.

    The model runs in eval mode with frozen weights; its flags, hooks and `.grad` are afterwards
    as before, also when it raises. Works under `torch.no_grad()`.

    Args:
        model: from x to logits (B, K); images of a batch must not influence each other.
        x: (B, C, H, W) on the model's device.
        target_class: one class in [0, K), or one per image. 'eigencam' makes no use of it.
        method: a key of `CAMS`, whose records give formula and source.
        layer: dotted name of a module that returns one map; None is `default_layer`.
        progress: called with the finished fraction in (0, 1], last with 1.0.

    Returns:
        (B, h, w) float32, ≥ 0, at the layer's resolution, not rescaled. The unit is that of the
        logits for the gradient methods and that of the activations for the other two.

    Raises:
        UnknownName: no such method or layer.
        InvalidInput: `x`, `target_class` or the model's output is not as above, or the logits
            do not depend on the layer.
    """
    choose("activation map", method, CAMS)
    if x.ndim != 4 or not len(x) or not x.is_floating_point():
        raise InvalidInput(
            f"x must be (B, C, H, W) of a float dtype with B ≥ 1; got {x.dtype} {tuple(x.shape)}"
        )
    with frozen(model), torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone()
        maps, classes = probe(model, x[:1])
        targets = _targets(target_class, len(x), classes)
        seen = record(model, x, choose_layer(model, layer, maps))
        return maps_of(model, x, seen, targets, method=method, progress=progress)


def _targets(target_class: Any, images: int, classes: int) -> list[int]:
    """One class per image."""
    wanted = torch.as_tensor(target_class).cpu()
    if wanted.is_floating_point() or wanted.is_complex() or wanted.dtype == torch.bool:
        raise InvalidInput(f"target_class must be of an integer dtype; got {wanted.dtype}")
    if wanted.ndim and wanted.shape != (images,):
        raise InvalidInput(
            f"target_class must be one class or ({images},), one per image; "
            f"got shape {tuple(wanted.shape)}"
        )
    chosen = wanted.long().expand(images).tolist()
    if not 0 <= min(chosen) <= max(chosen) < classes:
        raise InvalidInput(f"target_class must lie in [0, {classes}); got {target_class!r}")
    return [int(index) for index in chosen]


def border_mass(values: ArrayLike, width: int = 1) -> float:
    """The fraction of a map's mass that lies on its outer ring; zero padding can draw it there.

    Args:
        values: (h, w), ≥ 0.
        width: of the ring, in map cells, ≥ 1; a ring that covers the map has all the mass.

    Returns:
        A float in [0, 1]; 0 for a map without mass.

    Raises:
        InvalidInput: an argument is not as above.
    """
    cells = np.asarray(values, dtype=np.float64)
    if cells.ndim != 2 or not cells.size or not np.isfinite(cells).all() or cells.min() < 0:
        raise InvalidInput(f"expected a finite (h, w) map ≥ 0; got shape {cells.shape} or values")
    if width < 1:
        raise InvalidInput(f"the ring's width must be at least 1; got {width}")
    ring = cells.copy()
    ring[width:-width, width:-width] = 0.0
    total = float(cells.sum())
    return min(float(ring.sum()) / total, 1.0) if total > 0 else 0.0
