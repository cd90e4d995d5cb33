"""What decides a training run, and the learning rate at each of its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from nls_core import nets
from nls_core.data.aberrations import KINDS
from nls_core.errors import InvalidInput, UnknownName, choose, unknown
from nls_core.losses import LOSSES, OPTIONS, accepts, options

SCHEDULES = ("step", "cosine")
BOUNDS: dict[str, tuple[float, float]] = {  # both inclusive
    "smoothing": (0, 1),
    "gamma": (0, math.inf),
    "weight": (0, math.inf),
    "margin": (0, math.inf),
    "tau": (1e-3, math.inf),
    "label_noise": (0, 1),
    "imbalance": (1, math.inf),
    "subset": (1e-6, 1),
    "epochs": (1, math.inf),
    "batch_size": (1, math.inf),
    "momentum": (0, 1),
    "weight_decay": (0, math.inf),
    "warmup": (0, 1),
    "frozen": (0, 7),  # the blocks of EfficientNet-Lite0
    "renderings": (1, math.inf),
    "layer_decay": (0.01, 1),
    "averaging": (0, 0.9999),
    "interpolation": (0.01, 1),
}
# what only a transfer has: runs from scratch are kept, and named, without these
TRANSFER = ("frozen", "renderings", "layer_decay", "averaging", "interpolation")
ABERRANT = ("label_noise", "noise_kind", "imbalance", "subset")
# where None, not stored: what is stored of a recipe does not change with the fields that came later
LATER = (*TRANSFER, "margin", "tau", *ABERRANT)


@dataclass(frozen=True)
class Recipe:
    """All that decides a run; the defaults are the paper's: SGD, steps, little augmentation.

    `lr` is the peak rate after a linear warm-up over `warmup` of the steps; 'step' divides it by
    10 at 50 % and 75 %. `batch_size` is global, over all processes. `weight`, `margin` and `tau`
    are options of some losses, None being the loss's own. `label_noise` is the share of labels
    that are wrong, by a kind of `data.aberrations.KINDS` (None: symmetric), `imbalance` how many
    times as many images the first class has as the last, and `subset` the share of the images that
    is there at all; None trains on the data as they are. A transfer from ImageNet's weights keeps
    those of its first `frozen` blocks and trains the others on `renderings` pictures of each
    object, each block at `layer_decay` times the rate of the next. What it comes to lies
    `interpolation` of the way from ImageNet's weights (WiSE-FT, arXiv 2109.01903; 1 is all of it)
    to the moving average of the trained ones that keeps `averaging` of itself at each step, 0
    being the last weights. All five are None for a network from scratch. `amp` is bf16 autocast;
    None measures at the start what is quicker, and the checkpoints of the run hold what was
    chosen.
    """

    dataset: str = "fashion-mnist"
    arch: str = "smallresnet-16"
    loss: str = "ce"
    padding: str = "zero"
    smoothing: float = 0.1
    gamma: float = 0.0
    lr: float = 0.1
    epochs: int = 40
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 1e-6
    schedule: str = "step"
    warmup: float = 0.05
    flip: bool = True
    amp: bool | None = None
    freeze_bn: bool = False
    seed: int = 0
    weight: float | None = None
    frozen: int | None = None
    renderings: int | None = None
    layer_decay: float | None = None
    averaging: float | None = None
    interpolation: float | None = None
    margin: float | None = None
    tau: float | None = None
    label_noise: float | None = None
    noise_kind: str | None = None
    imbalance: float | None = None
    subset: float | None = None

    def check(self) -> None:
        """Raise InvalidInput for what cannot be trained."""
        choose("loss", self.loss, LOSSES)
        nets.architecture(self.arch)
        for kind, name, names in (
            ("padding", self.padding, nets.PADDINGS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if name not in names:
                raise UnknownName(unknown(kind, name, names))
        for key, (low, high) in BOUNDS.items():
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                raise InvalidInput(f"{key} must lie in [{low}, {high}]; got {value}")
        for option in OPTIONS:
            if getattr(self, option) is not None and not accepts(self.loss, option):
                known = [loss for loss in LOSSES if accepts(loss, option)]
                raise InvalidInput(f"expected a {option} with one of {known} only; got {self.loss}")
        if not 0 < self.lr < math.inf:
            raise InvalidInput(f"lr must be above 0 and finite; got {self.lr}")
        if self.noise_kind is not None:
            choose("kind of noise", self.noise_kind, KINDS)
            if self.label_noise is None:
                raise InvalidInput(f"expected a share label_noise with {self.noise_kind!r} noise")

    def to_dict(self) -> dict[str, Any]:
        """All fields, as checkpoints and manifests hold them: of `LATER` only what is set."""
        return _stated(asdict(self))

    def allows(self, made: Mapping[str, Any]) -> bool:
        """Whether a run with the values `made` is one of this recipe; an open `amp` allows both."""
        made = {**made, "amp": made.get("amp") if self.amp is not None else None}
        return self.to_dict() == _stated(made)

    def loss_options(self) -> dict[str, float]:
        """The keyword arguments of this recipe's loss."""
        return options(self.smoothing, self.gamma, **{k: getattr(self, k) for k in OPTIONS})


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None or k not in LATER}


def learning_rate(recipe: Recipe, done: float) -> float:
    """The rate when `done` of all steps, in [0, 1), lie behind."""
    if done < recipe.warmup:  # a little above 0 at the first step, never above the peak
        return min(recipe.lr * max(done, 1e-3) / recipe.warmup, recipe.lr)
    if recipe.schedule == "step":
        return recipe.lr * (0.1 if done >= 0.5 else 1.0) * (0.1 if done >= 0.75 else 1.0)
    share = (done - recipe.warmup) / (1 - recipe.warmup)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))


def with_overrides(recipe: Recipe, **values: Any) -> Recipe:
    """A recipe with the given values, None meaning unchanged."""
    return replace(recipe, **{key: value for key, value in values.items() if value is not None})
