"""The threat model: what every attack shares. ε-balls, norms, and checked input.

x is (B, C, H, W) in [0, 1] and ε is in the same units, since models normalize inside. Randomness
comes from a generator of the call's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nls_core.attacks.objectives import LOSS, margin, succeeded
from nls_core.errors import InvalidInput
from nls_core.nets import frozen

Progress = Callable[[float], None]
Trace = Callable[[int, Tensor], None]
DEFAULT_EPSILONS: dict[str, tuple[float, ...]] = {  # by norm, in pixel units
    "linf": (1 / 255, 2 / 255, 4 / 255, 8 / 255),
    "l2": (0.25, 0.5, 1.0, 2.0),
}
_LABELS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class Options:
    """What every attack accepts, so that one set of options fits all; not every attack uses all.

    `targeted`: y are labels to reach, not to leave (noise has no direction and ignores it).
    `seed` in [0, 2^63): fixes every random draw. `steps` ≥ 1: gradient steps; Square makes 50
    queries for each. `restarts` ≥ 1: PGD runs; those after the first start at random.
    `random_start`: the first PGD run does so too. `one_start`: a random start, noise or a square is
    drawn once for all samples of a batch, so that strengths on one picture differ by their strength
    alone. `progress`: called with the finished fraction, never decreasing, last with 1.0. `trace`:
    called by PGD, in each run, with the number of steps that are done and the logits (B, K) there,
    of the images that are still attacked; not where the first gradient was known, and not after the
    last step.
    """

    targeted: bool = False
    seed: int = 0
    steps: int = 10
    restarts: int = 1
    random_start: bool = False
    one_start: bool = False
    progress: Progress | None = None
    trace: Trace | None = None

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_count("restarts", self.restarts)
        check_count("seed", self.seed, least=0)

    def done(self, share: float) -> None:
        """Call `progress` with the finished fraction, where there is one."""
        if self.progress is not None:
            self.progress(share)

    def passed(self, step: int, logits: Tensor) -> None:
        """Call `trace`, where there is one."""
        if self.trace is not None:
            self.trace(step, logits)


def perturbation_norms(x: Tensor, adversarial: Tensor) -> tuple[Tensor, Tensor]:
    """L∞ and L2 norm of each perturbation, (B,) each, over all channels and pixels.

    Raises:
        InvalidInput: the shapes differ.
    """
    if x.shape != adversarial.shape or x.ndim != 4:
        raise InvalidInput(
            "expected two (B, C, H, W) tensors of one shape; "
            f"got {tuple(x.shape)} and {tuple(adversarial.shape)}"
        )
    delta = adversarial - x
    return delta.abs().amax((1, 2, 3)), l2_norm(delta).flatten()


def l2_norm(delta: Tensor) -> Tensor:
    """(B, 1, 1, 1); summed in float64, where squares of tiny gradients do not vanish."""
    norm: Tensor = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    return norm.to(delta.dtype)


def project(x: Tensor, adversarial: Tensor, epsilon: Tensor, norm: str) -> Tensor:
    """Bring (B, C, H, W) into the ε ball around x, then into [0, 1]; epsilon is (B, 1, 1, 1).

    The clip to [0, 1] only moves towards x, so it does not leave the ball.
    """
    delta = adversarial - x
    if norm == "l2":
        tiny = torch.finfo(x.dtype).tiny
        delta = delta * (epsilon / l2_norm(delta).clamp_min(tiny)).clamp_max(1.0)
    else:
        delta = torch.minimum(torch.maximum(delta, -epsilon), epsilon)
    return (x + delta).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Task:
    """Checked arguments of one call, or the part of them that is still attacked."""

    model: nn.Module
    x: Tensor  # (B, C, H, W)
    y: Tensor  # (B,) int64
    epsilon: Tensor  # (B, 1, 1, 1)
    norm: str
    options: Options
    generator: torch.Generator
    label: int  # the largest in y; known once, so that no step waits for the device
    step: Tensor  # (B, 1, 1, 1); this and the rest for gradient attacks
    loss: str = "ce"
    early_stop: bool = False

    def take(self, rows: Tensor) -> Task:
        """The same for some samples only."""
        x, y, epsilon, step = (part[rows] for part in (self.x, self.y, self.epsilon, self.step))
        return replace(self, x=x, y=y, epsilon=epsilon, step=step)

    def project(self, adversarial: Tensor) -> Tensor:
        """Into the ball around x; see `project`."""
        return project(self.x, adversarial, self.epsilon, self.norm)

    def succeeded(self, logits: Tensor) -> Tensor:
        """(B,) bool; see `succeeded`."""
        return succeeded(logits, self.y, self.options.targeted)

    def logits(self, adversarial: Tensor) -> Tensor:
        """(B, K), or InvalidInput when the model or the labels are not of that kind."""
        logits: Tensor = self.model(adversarial)
        if logits.ndim != 2 or len(logits) != len(adversarial) or logits.shape[1] < 2:
            raise InvalidInput(
                f"the model must return ({len(adversarial)}, K ≥ 2) logits; "
                f"got shape {tuple(logits.shape)}"
            )
        if self.label >= logits.shape[1]:
            raise InvalidInput(f"labels must lie in [0, {logits.shape[1]}); got {self.label}")
        return logits

    def value(self, logits: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """(B,) what the attack wants high."""
        return loss(logits, self.y) * (-1 if self.options.targeted else 1)

    def gradient(self, adversarial: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of the summed loss, (B, C, H, W), and the logits it comes from."""
        return self.gradient_of(adversarial, lambda logits: LOSS[self.loss](logits, self.y))

    def gradient_of(
        self, adversarial: Tensor, value: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The same of any value (B,) of the logits (B, K)."""
        with torch.enable_grad():
            leaf = adversarial.detach().requires_grad_()
            logits = self.logits(leaf)
            (gradient,) = torch.autograd.grad(value(logits).sum(), leaf)
        return gradient, logits.detach()

    @property
    def drawn(self) -> Tensor:
        """For what random numbers are drawn: each sample, or one for all with `one_start`."""
        return self.x[:1] if self.options.one_start else self.x

    def random_start(self) -> Tensor:
        """Uniform in the ball, (B, C, H, W)."""
        return self.project(self.x + self.epsilon * in_ball(self.drawn, self.norm, self.generator))


@dataclass(frozen=True)
class Kept:
    """The best that several attacks in turn found: changed in place.

    `best` (B, C, H, W), `top` (B,) its `margin`, and `hit` (B,) whether it succeeded.
    """

    best: Tensor
    top: Tensor
    hit: Tensor

    def left(self) -> Tensor:
        """The rows on which nothing has succeeded."""
        return (~self.hit).nonzero()[:, 0]

    def take(self, part: Task, rows: Tensor, found: Tensor) -> None:
        """Keep what was found for `rows`, which `part` holds, where it succeeded or is better."""
        logits = part.logits(found)
        value, success = part.value(logits, margin), part.succeeded(logits)
        better = success | (value > self.top[rows])
        chosen = rows[better]
        self.best[chosen], self.top[chosen] = found[better], value[better]
        self.hit[rows] = success


@contextmanager
def prepare(
    model: nn.Module, x: Tensor, y: Tensor, *, epsilon: float | Tensor, norm: str, **shared: Any
) -> Iterator[Task]:
    """Check and copy the arguments; within, the model is frozen and nothing records gradients."""
    options = Options(**shared)
    with torch.inference_mode(False), torch.no_grad(), frozen(model):
        _check_images(x)
        radius = per_sample("epsilon", epsilon, x, 1.0 if norm == "linf" else math.inf)
        yield Task(
            model=model,
            x=x.detach().clone(),
            y=_labels(y, x),
            epsilon=radius,
            norm=norm,
            options=options,
            generator=torch.Generator(x.device).manual_seed(options.seed),
            label=int(y.max()),
            step=2.5 * radius / options.steps,
        )
        options.done(1.0)


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise InvalidInput unless `value` is an integer of at least `least`."""
    if not isinstance(value, int) or not least <= value < 2**63:
        raise InvalidInput(f"{name} must be an integer of at least {least}; got {value!r}")


def _check_images(x: Tensor) -> None:
    if x.ndim != 4 or not x.numel() or not x.is_floating_point():
        raise InvalidInput(
            "expected x of a float dtype and shape (B, C, H, W), not empty; "
            f"got {x.dtype} and {tuple(x.shape)}"
        )
    low, high = (float(end) for end in x.aminmax())
    if not 0.0 <= low <= high <= 1.0:  # NaN fails as well
        raise InvalidInput(f"x must lie in [0, 1]; got values from {low:g} to {high:g}")


def _labels(y: Tensor, x: Tensor) -> Tensor:
    if y.shape != x.shape[:1] or y.dtype not in _LABELS:
        raise InvalidInput(
            f"expected ({len(x)},) labels of an integer dtype; got {y.dtype} and {tuple(y.shape)}"
        )
    if int(y.min()) < 0:
        raise InvalidInput(f"labels must be at least 0; got {int(y.min())}")
    return y.detach().to(x.device, torch.int64, copy=True)


def per_sample(name: str, value: float | Tensor, x: Tensor, cap: float) -> Tensor:
    """(B, 1, 1, 1) from a number or (B,) of them, each finite and in [0, cap]."""
    try:
        each = torch.as_tensor(value, dtype=x.dtype, device=x.device).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        raise InvalidInput(f"{name} must be a number or one per sample; got {value!r}") from None
    if each.shape not in ((), x.shape[:1]):
        raise InvalidInput(
            f"{name} must be a number or ({len(x)},), one per sample; got shape {tuple(each.shape)}"
        )
    if not bool((each.isfinite() & (each >= 0) & (each <= cap)).all()):
        limits = f"lie in [0, {cap:g}]" if math.isfinite(cap) else "be finite and at least 0"
        raise InvalidInput(f"{name} must {limits}; got {each.tolist()}")
    return each.expand(len(x)).reshape(-1, 1, 1, 1)


def in_ball(x: Tensor, norm: str, generator: torch.Generator | None) -> Tensor:
    """(B, C, H, W) uniform in the unit ball of a norm."""
    if norm == "linf":
        return 2 * uniform(x, x.shape, generator) - 1
    normal = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    radius = uniform(x, (len(x), 1, 1, 1), generator) ** (1 / x[0].numel())
    return normal * (radius / l2_norm(normal).clamp_min(torch.finfo(x.dtype).tiny))


def uniform(x: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Numbers in [0, 1) of the given shape, like x."""
    return torch.rand(shape, generator=generator, device=x.device, dtype=x.dtype)


def signs(x: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """-1 or +1, equally likely."""
    return torch.randint(0, 2, shape, generator=generator, device=x.device).to(x.dtype) * 2 - 1
