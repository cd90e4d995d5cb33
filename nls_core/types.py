"""The frozen dataclasses that travel between modules, and the error tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
T = TypeVar("T")


class NLSLabError(Exception):
    """Base of every error that a user may meet; `status` is its HTTP status."""

    status = 500
    title = "Internal error"


class InvalidInput(NLSLabError, ValueError):
    """A value is outside what is accepted; the message says expected and got."""

    status = 422
    title = "Invalid input"


class UnknownName(InvalidInput):
    """A name is in none of the registries."""

    title = "Unknown name"


class UnknownModel(UnknownName):
    """No model of that id is in the models folder."""

    status = 404
    title = "Unknown model"


class ImageRejected(InvalidInput):
    """The bytes are not an image that we decode, or one beyond the limits."""

    title = "Image rejected"


class TooLarge(InvalidInput):
    """An upload is over the byte cap."""

    status = 413
    title = "Upload too large"


class CheckpointError(NLSLabError):
    """A checkpoint is missing, damaged or altered."""

    title = "Checkpoint unusable"


class NotWritten(NLSLabError):
    """A file could not be written, as on a full disk; what it held before is whole."""

    status = 507
    title = "File not written"


class DatasetMissing(NLSLabError):
    """A data set is not on this machine; the message holds the command that gets it."""

    title = "Data set missing"


class ExtraMissing(NLSLabError):
    """A package of an optional extra is not installed; the message holds the command."""

    status = 501
    title = "Optional package missing"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what}; install it with: pip install 'nls-lab[{extra}]'")


class QueueFull(NLSLabError):
    """More work waits than the configured queue holds."""

    status = 503
    title = "Queue full"


class TooCostly(InvalidInput):
    """A request would compute longer than this deployment allows."""

    title = "Too costly"


class Overdue(NLSLabError):
    """A computation took longer than this deployment allows and was stopped."""

    status = 503
    title = "Overdue"


class Departed(NLSLabError):
    """Whoever asked has left; the work was stopped. Nobody reads the answer."""

    status = 499
    title = "Client gone"


class DiskFull(NLSLabError):
    """The server has no room left for an upload or an export."""

    status = 507
    title = "Disk full"


def choose(kind: str, name: str, options: Mapping[str, T]) -> T:
    """Look a name up in a registry, or say which names there are.

    Raises:
        UnknownName: `name` is not a key of `options`.
    """
    try:
        return options[name]
    except (KeyError, TypeError):
        raise UnknownName(unknown(kind, name, options)) from None


def shown(value: object, longest: int = 80) -> str:
    """A value as messages repeat it: its repr, cut; what strangers send is not echoed whole."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def unknown(kind: str, name: object, options: Iterable[str]) -> str:
    """The sentence for a name that is not one of `options`."""
    return f"unknown {kind} {shown(name)}; expected one of {sorted(options)}"


def brief(error: object, limit: int = 200) -> str:
    """What an error says, in one line of at most `limit` characters."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


@dataclass(frozen=True)
class Geometry:
    """Where the model's square input lies in the uploaded picture.

    `width` and `height` are the picture's size in pixels after EXIF rotation. `box` is
    (left, top, right, bottom) of the model input in those pixels; it may reach outside the
    picture where the conversion padded.
    """

    width: int
    height: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Manifest:
    """What `models/<family>/<name>/config.json` says of one checkpoint."""

    id: str
    arch: str
    padding: str
    loss: str
    loss_parameters: Mapping[str, float]
    classes: tuple[str, ...]
    channels: int
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preprocess: str
    temperature: float
    sha256: str
    seed: int
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reliability: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    created_with: Mapping[str, str] = field(default_factory=dict)
    ood: Mapping[str, Any] = field(default_factory=dict)  # `unfamiliar.entry`, or empty
    schema: int = 1

    @property
    def family(self) -> str:
        """The part of the id before the slash."""
        return self.id.split("/")[0]


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
    """

    request: AnalysisRequest
    x: FloatArray
    picture: NDArray[np.uint8]
    geometry: Geometry
    models: tuple[ModelAnalysis, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
