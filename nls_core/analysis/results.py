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
    the clean prediction (or, when targeted, reached the target). `steps` (S + 1, K) are the
    probabilities at the attack's start and after each of its steps, None where it has none to tell.
    """

    epsilon: float
    adversarial: FloatArray
    prediction: Prediction
    cam: CamMap
    linf: float
    l2: float
    success: bool
    steps: FloatArray | None = None


@dataclass(frozen=True)
class FlipPoint:
    """The smallest ε found at which PGD changes the label, in pixel units; see `flip.find`.

    `epsilon` and `label`, what it then is, are None where no strength up to `most` changed it.
    """

    epsilon: float | None
    label: int | None
    most: float


@dataclass(frozen=True)
class ModelAnalysis:
    """Everything that one model says of one image; `flip_point` where it was asked for."""

    manifest: Manifest
    prediction: Prediction
    cam: CamMap
    sweep: tuple[SweepPoint, ...]
    flip_point: FlipPoint | None = None

    @property
    def flip_epsilon(self) -> float | None:
        """The smallest tried ε at which the attack succeeded, or None."""
        return min((point.epsilon for point in self.sweep if point.success), default=None)


@dataclass(frozen=True)
class AnalysisRequest:
    """What to compute. `epsilons` are in pixel units of [0, 1], `layer` None means the last stage.

    `target_class` is the class that the maps explain (None: the clean prediction of each model);
    `attack_target` makes the attack a targeted one. `seed` fixes every random draw.
    `random_start`: PGD and Auto-PGD begin at a random place within ε instead of the picture.
    `flip_point`: find each model's, by PGD without a target, whatever the attack is.
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
    random_start: bool = True
    flip_point: bool = False


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

    def course(self, model: ModelAnalysis, point: SweepPoint) -> tuple[int, int]:
        """The class that an attack leads away from, and the one that it is to reach or ends at."""
        target = self.request.attack_target
        return model.prediction.index, point.prediction.index if target is None else target

    def point(self, model: ModelAnalysis, index: int | None) -> SweepPoint:
        """One of a model's strengths, by its index in the request; None is ε = 0."""
        if index is not None:
            return model.sweep[index]
        return SweepPoint(0.0, self.x, model.prediction, model.cam, 0.0, 0.0, False)
