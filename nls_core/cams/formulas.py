"""The published methods as classes of the grad-cam library, mended where it has to be.

Importing it takes seconds, so `methods` does it when the first map is made.

Notation: activations A (B, c, h, w) of the layer, score z_t of the target class t, and gradients
g = ∂z_t/∂A.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM

from nls_core.cams.methods import Progress
from nls_core.types import FloatArray

__all__ = [
    "BatchedScoreCAM",
    "GradCAM",
    "HiResCAM",
    "LayerCAM",
    "PositiveGradCAMPlusPlus",
    "SignedEigenCAM",
]
_SCORE_BATCH = 16  # masked copies of one image in a ScoreCAM forward


class PositiveGradCAMPlusPlus(GradCAMPlusPlus):  # type: ignore[misc]
    """GradCAM++ over positive gradients only: the formula drops the others after dividing."""

    def get_cam_weights(self, *arguments: Any) -> FloatArray:
        """(B, c); a negative gradient could make the library divide by 0 and lose the map."""
        *rest, grads = arguments
        weights: FloatArray = super().get_cam_weights(*rest, np.maximum(grads, 0))
        return weights


class SignedEigenCAM(EigenCAM):  # type: ignore[misc]
    """EigenCAM with a definite sign, by a thin SVD.

    The sign of a singular vector is arbitrary: here the map rises where the layer's summed
    activation does. The library's full SVD needs (h·w)² numbers, too many for early layers.
    """

    def get_cam_image(self, *arguments: Any) -> FloatArray:
        """(B, h, w): A, centred over positions, on its first principal component."""
        activations: FloatArray = arguments[3]
        maps = []
        for image in activations:
            points = image.reshape(len(image), -1).T  # (h·w, c)
            points = points - points.mean(0)
            projection = points @ np.linalg.svd(points, full_matrices=False)[2][0]
            sign = -1.0 if projection @ points.sum(1) < 0 else 1.0
            maps.append(sign * projection.reshape(image.shape[1:]))
        return np.stack(maps).astype(np.float32)


class BatchedScoreCAM(ScoreCAM):  # type: ignore[misc]
    """ScoreCAM in batches of masks, with progress.

    The library makes the masked copies of all channels at once, which for 1280 channels at
    224 pixels is 0.8 GB an image, and prints a progress bar.
    """

    progress: Progress | None = None

    def get_cam_weights(self, *arguments: Any) -> FloatArray:
        """(B, c): softmax over channels of the score of the input masked by that channel."""
        x, _, targets, activations, _ = arguments
        images, channels = activations.shape[:2]
        scores = torch.empty(images, channels)
        for image, target in enumerate(targets):
            for start in range(0, channels, _SCORE_BATCH):
                chosen = slice(start, start + _SCORE_BATCH)
                masks = torch.from_numpy(activations[image, chosen]).to(x)[:, None]  # (n, 1, h, w)
                masks = F.interpolate(masks, x.shape[-2:], mode="bilinear", align_corners=True)
                low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
                with torch.no_grad():
                    logits = self.model(x[image] * (masks - low) / (high - low + 1e-8))
                scores[image, chosen] = logits[:, target].float().cpu()
                if self.progress is not None:
                    done = image * channels + min(start + _SCORE_BATCH, channels)
                    self.progress(done / (images * channels))
        weights: FloatArray = scores.softmax(1).numpy()
        return weights
