"""One model, one picture, many strengths: predictions and attacks, the whole sweep as one batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nls_core.analysis.results import AnalysisRequest, CamMap, Prediction, SweepPoint
from nls_core.attacks import ATTACKS, threat
from nls_core.nets import frozen


def look(
    model: nn.Module, x: Tensor, target: int | None, temperature: float
) -> tuple[Prediction, Tensor]:
    """One forward and one backward: the prediction, and the gradient for the first attack step.

    Args:
        model: from x to logits (1, K).
        x: (1, C, H, W) in [0, 1].
        target: the class of a targeted attack; None takes the prediction, the label to leave.
        temperature: of the calibrated probabilities.

    Returns:
        The prediction, and the input gradient (1, C, H, W) of the cross-entropy of that class.
    """
    with frozen(model), torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        label = logits.argmax(1) if target is None else torch.full_like(logits.argmax(1), target)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, label), x)
    return _predictions(logits.detach(), temperature)[0], gradient


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, temperature: float) -> list[Prediction]:
    """A prediction for each of x (B, C, H, W)."""
    return _predictions(model(x), temperature)


def _predictions(logits: Tensor, temperature: float) -> list[Prediction]:
    logits = logits.float()
    parts = (logits, logits.softmax(1), (logits / temperature).softmax(1))
    arrays = (part.cpu().numpy() for part in parts)
    return list(itertools.starmap(Prediction, zip(*arrays, strict=True)))


def attack(
    model: nn.Module,
    x: Tensor,
    request: AnalysisRequest,
    seen: tuple[Prediction, Tensor],
    progress: Callable[[float], None],
) -> Tensor:
    """(E, C, H, W) adversarial images, one for each ε of the request.

    Each strength starts from the same picture x (1, C, H, W), so that the gradient that `look`
    found serves all of them. The label to leave is the model's own prediction, since the true one
    is unknown.
    """
    clean, gradient = seen
    count = len(request.epsilons)
    label = clean.index if request.attack_target is None else request.attack_target
    known = {"first_gradient": gradient.expand(count, -1, -1, -1)}
    chosen = ATTACKS[request.attack]
    return chosen(
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
        **(known if chosen.takes_gradient else {}),
    )


def points(
    x: Tensor,
    swept: Tensor,
    request: AnalysisRequest,
    clean: Prediction,
    seen: Sequence[tuple[Prediction, CamMap]],
) -> tuple[SweepPoint, ...]:
    """What each strength did: norms and success, beside its prediction and map."""
    linf, l2 = threat.perturbation_norms(x.expand_as(swept), swept)
    targeted = request.attack_target is not None
    wanted = request.attack_target if targeted else clean.index
    return tuple(
        SweepPoint(
            epsilon=epsilon,
            adversarial=swept[i].cpu().numpy(),
            prediction=prediction,
            cam=cam,
            linf=float(linf[i]),
            l2=float(l2[i]),
            success=(prediction.index == wanted) == targeted,
        )
        for i, (epsilon, (prediction, cam)) in enumerate(zip(request.epsilons, seen, strict=True))
    )
