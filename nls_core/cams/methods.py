"""The published methods, each a formula of what one layer gave.

Notation: activations A (B, c, h, w) of the layer, score z_t of the target class t, and gradients
g = ∂z_t/∂A. The formulas are those of the grad-cam library, mended where they have to be; the
tests compare with it. It is not needed to serve, where it would take 120 MB and a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nls_core.types import FloatArray

Progress = Callable[[float], None]
_SCORE_BATCH = 16  # masked copies of one image in a ScoreCAM forward


@dataclass(frozen=True)
class Taken:
    """What a formula may read.

    `activations` and `gradients` are (B, c, h, w) of the layer, the latter empty for a method that
    has no use for them; `targets` (B,) the classes; `model` and `x` (B, C, H, W) are for methods
    that ask the model again, and tell `progress` the finished fraction.
    """

    activations: FloatArray
    gradients: FloatArray
    targets: Sequence[int]
    model: nn.Module
    x: Tensor
    progress: Progress | None = None


Formula = Callable[[Taken], FloatArray]  # (B, h, w); what lies below 0 is cut afterwards


def _weighted(weights: FloatArray, activations: FloatArray) -> FloatArray:
    """(B, c) weights of the channels -> (B, h, w)."""
    maps: FloatArray = (weights[:, :, None, None] * activations).sum(axis=1)
    return maps


def gradcam(taken: Taken) -> FloatArray:
    """Each channel by its mean gradient."""
    return _weighted(taken.gradients.mean(axis=(2, 3)), taken.activations)


def gradcam_plus_plus(taken: Taken) -> FloatArray:
    """As equation 19 of the paper, over positive gradients only.

    It drops the others after dividing, where a negative gradient could make it divide by 0.
    """
    g = np.maximum(taken.gradients, 0)
    square = g**2
    total = taken.activations.sum(axis=(2, 3), keepdims=True)  # (B, c, 1, 1)
    share = np.where(g != 0, square / (2 * square + total * (square * g) + 1e-6), 0)
    return _weighted((g * share).sum(axis=(2, 3)), taken.activations)


def hirescam(taken: Taken) -> FloatArray:
    """Each position by its own gradient."""
    maps: FloatArray = (taken.gradients * taken.activations).sum(axis=1)
    return maps


def layercam(taken: Taken) -> FloatArray:
    """Each position by its own gradient where that is positive."""
    maps: FloatArray = (np.maximum(taken.gradients, 0) * taken.activations).sum(axis=1)
    return maps


def eigencam(taken: Taken) -> FloatArray:
    """A, centred over positions, on its first principal component, by a thin SVD.

    The sign of a singular vector is arbitrary: here the map rises where the layer's summed
    activation does. A full SVD needs (h·w)² numbers, too many for early layers.
    """
    maps = []
    for image in taken.activations:
        points = image.reshape(len(image), -1).T  # (h·w, c)
        points = points - points.mean(0)
        projection = points @ np.linalg.svd(points, full_matrices=False)[2][0]
        sign = -1.0 if projection @ points.sum(1) < 0 else 1.0
        maps.append(sign * projection.reshape(image.shape[1:]))
    return np.stack(maps).astype(np.float32)


def scorecam(taken: Taken) -> FloatArray:
    """Each channel by the score of the input masked by it, softmax over channels.

    In batches: the masked copies of 1280 channels at 224 pixels are 0.8 GB an image.
    """
    images, channels = taken.activations.shape[:2]
    scores = torch.empty(images, channels)
    for image, target in enumerate(taken.targets):
        for start in range(0, channels, _SCORE_BATCH):
            chosen = slice(start, start + _SCORE_BATCH)
            masks = torch.from_numpy(taken.activations[image, chosen]).to(taken.x)[:, None]
            masks = F.interpolate(masks, taken.x.shape[-2:], mode="bilinear", align_corners=True)
            low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
            with torch.no_grad():
                logits = taken.model(taken.x[image] * (masks - low) / (high - low + 1e-8))
            scores[image, chosen] = logits[:, target].float().cpu()
            if taken.progress is not None:
                done = image * channels + min(start + _SCORE_BATCH, channels)
                taken.progress(done / (images * channels))
    return _weighted(scores.softmax(1).numpy(), taken.activations)


@dataclass(frozen=True)
class Cam:
    """A kind of activation map and what menus and limits have to know of it.

    `cost` is in forward passes for each picture, measured by `scripts/measure_costs.py`; None is
    one for each channel of the layer: such a method tells of its progress itself.
    """

    formula: Formula
    cost: float | None
    meaning: str  # formula and source; every map is then cut at 0
    gradients: bool = True  # whether the formula reads them

    def passes(self, channels: int) -> float:
        """Forward passes for one picture at a layer of so many channels."""
        return channels if self.cost is None else self.cost


CAMS: dict[str, Cam] = {
    "gradcam": Cam(gradcam, 4, "Σ_c mean(g_c) A_c; Selvaraju et al. 2016, arXiv 1610.02391"),
    "gradcam++": Cam(
        gradcam_plus_plus,
        4,
        "Σ_c w_c A_c, w from g² and g³; Chattopadhay et al. 2017, arXiv 1710.11063",
    ),
    "hirescam": Cam(hirescam, 4, "Σ_c g_c A_c; Draelos & Carin 2020, arXiv 2011.08891"),
    "layercam": Cam(layercam, 4, "Σ_c relu(g_c) A_c; Jiang et al. 2021, IEEE TIP 30"),
    "eigencam": Cam(
        eigencam,
        10,
        "first component of A, of no class; Muhammad & Yeasin 2020, arXiv 2008.00299",
        gradients=False,
    ),
    "scorecam": Cam(
        scorecam,
        None,
        "Σ_c softmax(scores)_c A_c; Wang et al. 2019, arXiv 1910.01279",
        gradients=False,
    ),
}


def quick() -> tuple[str, ...]:
    """The methods whose cost does not grow with the layer: those for hundreds of pictures."""
    return tuple(name for name, cam in CAMS.items() if cam.cost is not None)
