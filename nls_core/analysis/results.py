"""A request for an analysis and its answer: the frozen dataclasses of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nls_core.types import FloatArray, Geometry, Manifest


@dataclass(frozen=True)
class Prediction:
    """One model's answer for one input; probabilities are (K,) and sum to 1."""

    logits: FloatArray
    probabilities: FloatArray
    calibrated: FloatArray  # after the manifest's temperature

    @property
    def index(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """The probability of the most probable class."""
        return float(self.probabilities.max())

    @property
    def calibrated_confidence(self) -> float:
        """The confidence after temperature scaling."""
        return float(self.calibrated.max())


@dataclass(frozen=True)
class CamMap:
    """An activation map at the target layer's own resolution, not rescaled.

    `values` is (h, w) float32, ≥ 0, in the method's own units, so that maps of one scale stay
    comparable; figures decide on a colour scale.
    """

    method: str
    layer: str
    target_class: int
    values: FloatArray


@dataclass(frozen=True)
class SweepPoint:
    """What one attack strength did to one model.

    `adversarial` is (C, H, W) in [0, 1]; `epsilon` in pixel units of [0, 1]; `linf` and `l2`
    are the norms of the perturbation over all pixels; `success` says whether the label left
    the clean prediction (or, when targeted, reached the target).
    """

    epsilon: float
    adversarial: FloatArray
    prediction: Prediction
    cam: CamMap
    linf: float
    l2: float
    success: bool


@dataclass(frozen=True)
class ModelAnalysis:
    """Everything that one model says of one image."""

    manifest: Manifest
    prediction: Prediction
    cam: CamMap
    sweep: tuple[SweepPoint, ...]

    @property
    def flip_epsilon(self) -> float | None:
        """The smallest tried ε at which the attack succeeded, or None."""
        return min((point.epsilon for point in self.sweep if point.success), default=None)


@dataclass(frozen=True)
class AnalysisRequest:
    """What to compute. `epsilons` are in pixel units of [0, 1], `layer` None means the last stage.

    `target_class` is the class that the maps explain (None: the clean prediction of each model);
    `attack_target` makes the attack a targeted one. `seed` fixes every random draw.
    """

    models: tuple[str, ...]
    cam: str = "gradcam"
    layer: str | None = None
    attack: str = "pgd-linf"
    epsilons: tuple[float, ...] = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
    target_class: int | None = None
    attack_target: int | None = None
    steps: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Analysis:
    """The answer to an `AnalysisRequest`.

    `x` is the shared model input (C, H, W) in [0, 1]; `picture` is the upload for display,
    (h, w, 3) with the proportions of `geometry` and at most 512 pixels on its longest edge.
    `sha256` is that of the image file, None where a decoded picture was given.
    """

    request: AnalysisRequest
    x: FloatArray
    picture: NDArray[np.uint8]
    geometry: Geometry
    models: tuple[ModelAnalysis, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    sha256: str | None = None
