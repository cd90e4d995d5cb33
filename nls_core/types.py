"""What travels between packages: arrays, a picture's geometry, and a model's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


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
    limits: Mapping[str, Any] = field(default_factory=dict)  # `conformal.entry`, or empty
    schema: int = 1

    @property
    def family(self) -> str:
        """The part of the id before the slash."""
        return self.id.split("/")[0]
