"""One model, one picture, many strengths: predictions and attacks, the sweep as one batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nls_core import cams
from nls_core.analysis.results import AnalysisRequest, CamMap, Prediction, SweepPoint
from nls_core.attacks import ATTACKS, threat
from nls_core.nets import frozen
from nls_core.types import FloatArray


@dataclass(frozen=True)
class View:
    """How a model is looked at: the maps' layer, the temperature, and a callback for progress."""

    layer: str
    temperature: float
    progress: Callable[[float], None] = lambda done: None


@dataclass(frozen=True)
class Look:
    """What one forward of a picture gave.

    `gradient` (1, C, H, W) is that of the cross-entropy of the label to leave or to reach, None
    where no attack has a use for it; `values` (h, w) the map of the class `target`.
    """

    prediction: Prediction
    gradient: Tensor | None
    target: int
    values: FloatArray


@dataclass(frozen=True)
class Swept:
    """What an attack made of one picture at E strengths.

    `images` (E, C, H, W); `trail` (S, E, K) the logits before each of its S steps, None where the
    attack does not tell them.
    """

    images: Tensor
    trail: Tensor | None = None

    def steps(self, index: int, last: Prediction) -> FloatArray | None:
        """(S + 1, K) probabilities at a strength, up to what is said `last`."""
        if self.trail is None:
            return None
        before = self.trail[:, index].float().softmax(1).cpu().numpy()
        return np.concatenate([before, last.probabilities[None]])


def look(model: nn.Module, x: Tensor, request: AnalysisRequest, view: View) -> Look:
    """One forward, and a backward where the attack begins with a gradient.

    Args:
        model: from x to logits (1, K).
        x: (1, C, H, W) in [0, 1].
        request: whose map and attack it is.
        view: how to look.
    """
    with frozen(model), torch.enable_grad():
        begins = ATTACKS[request.attack].takes_gradient and bool(request.epsilons)
        x = x.detach().requires_grad_(begins)
        seen = cams.record(model, x, view.layer)
        prediction = predictions(seen.logits.detach(), view.temperature)[0]
        target = prediction.index if request.target_class is None else request.target_class
        (values,) = cams.maps_of(
            model, x, seen, [target], method=request.cam, progress=view.progress
        )
        gradient = None
        if x.requires_grad:
            label = torch.tensor([_label(request, prediction)], device=x.device)
            (gradient,) = torch.autograd.grad(F.cross_entropy(seen.logits, label), x)
    return Look(prediction, gradient, target, values)


def watch(
    model: nn.Module, images: Tensor, request: AnalysisRequest, target: int, view: View
) -> list[tuple[Prediction, CamMap]]:
    """Prediction and map, of the class `target`, of each of (E, C, H, W), from one forward."""
    with frozen(model):
        seen = cams.record(model, images, view.layer)
        values = cams.maps_of(
            model,
            images,
            seen,
            [target] * len(images),
            method=request.cam,
            progress=view.progress,
        )
    maps = (CamMap(request.cam, view.layer, target, each) for each in values)
    return list(zip(predictions(seen.logits.detach(), view.temperature), maps, strict=True))


def _label(request: AnalysisRequest, clean: Prediction) -> int:
    """The class to reach, or the model's own prediction to leave: the true one is unknown."""
    return clean.index if request.attack_target is None else request.attack_target


def predictions(logits: Tensor, temperature: float) -> list[Prediction]:
    """What logits (B, K) say, one answer a row; calibrated by the temperature."""
    logits = logits.float()
    parts = (logits, logits.softmax(1), (logits / temperature).softmax(1))
    arrays = (part.cpu().numpy() for part in parts)
    return list(itertools.starmap(Prediction, zip(*arrays, strict=True)))


def attack(
    model: nn.Module,
    x: Tensor,
    request: AnalysisRequest,
    look: Look,
    progress: Callable[[float], None],
) -> Swept:
    """Adversarial images, one for each ε of the request, and what was said on the way.

    Each strength starts from the same picture x (1, C, H, W), so that the one gradient that `look`
    found serves all of them.
    """
    count = len(request.epsilons)
    label = _label(request, look.prediction)
    known: dict[str, Any] = {}
    trail: dict[int, Tensor] = {}
    if look.gradient is not None:
        known["first_gradient"] = look.gradient.expand(count, -1, -1, -1)
        trail[0] = torch.from_numpy(look.prediction.logits).to(x).expand(count, -1)
    if ATTACKS[request.attack].traced:
        known["trace"] = trail.__setitem__
    images = ATTACKS[request.attack](
        model,
        x.expand(count, -1, -1, -1).contiguous(),
        torch.full((count,), label, device=x.device),
        epsilon=torch.tensor(request.epsilons, device=x.device),
        steps=request.steps,
        targeted=request.attack_target is not None,
        seed=request.seed,
        random_start=request.random_start,
        one_start=True,
        progress=progress,
        **known,
    )
    return Swept(images, torch.stack(list(trail.values())) if "trace" in known else None)


def points(
    x: Tensor,
    swept: Swept,
    request: AnalysisRequest,
    clean: Prediction,
    seen: Sequence[tuple[Prediction, CamMap]],
) -> tuple[SweepPoint, ...]:
    """What each strength did: norms and success, beside its prediction and map."""
    linf, l2 = threat.perturbation_norms(x.expand_as(swept.images), swept.images)
    targeted, wanted = request.attack_target is not None, _label(request, clean)
    return tuple(
        SweepPoint(
            epsilon=epsilon,
            adversarial=swept.images[i].cpu().numpy(),
            prediction=prediction,
            cam=cam,
            linf=float(linf[i]),
            l2=float(l2[i]),
            success=(prediction.index == wanted) == targeted,
            steps=swept.steps(i, prediction),
        )
        for i, (epsilon, (prediction, cam)) in enumerate(zip(request.epsilons, seen, strict=True))
    )
