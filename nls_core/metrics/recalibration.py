"""What can be repaired without training: maps from logits to better calibrated probabilities.

Each is fitted on some answers and applied to others: `crossfitted` gives every answer by a map
that never saw it, so that test answers need no split of their own.

Sources: Guo et al. 2017, arXiv 1706.04599 (temperature, vector scaling); Zadrozny & Elkan 2002
(isotonic regression, one class against the rest); Guo et al. 2025, arXiv 2506.23492 (SMART, a
temperature for each answer from the margin of its two largest logits).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nls_core.errors import InvalidInput
from nls_core.metrics.calibration import BINS, Arrays, check_labels, check_scores
from nls_core.metrics.temperature import fit_temperature, with_temperature

Map = Callable[[Tensor], Tensor]  # logits (N, K) -> probabilities (N, K)
TINY = 1e-6  # no class is impossible
STEPS, RATE, HIDDEN = 200, 0.05, 16  # how `margin` learns: Adam on all answers at once


@dataclass(frozen=True)
class Recalibration:
    """A way to repair: `fit` takes logits (N, K) and labels (N,), and gives the map."""

    title: str
    meaning: str
    fit: Callable[[Tensor, Tensor], Map]


def temperature(logits: Tensor, labels: Tensor) -> Map:
    """One T for all logits, of the lowest NLL."""
    t = fit_temperature(logits, labels)
    return lambda z: with_temperature(z, t)


def vector(logits: Tensor, labels: Tensor) -> Map:
    """A factor and an offset for each class, of the lowest NLL; answers may change."""
    z = logits.double().T.contiguous()  # (K, N): sums along the first axis are faster
    scale = torch.ones(len(z), 1, dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(len(z), 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [scale, offset], max_iter=200, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        moved = z * scale + offset
        found = (moved.logsumexp(0) - moved.gather(0, labels[None])[0]).mean()
        torch.autograd.backward(found)
        return found

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    factor, shift = scale.detach()[:, 0], offset.detach()[:, 0]
    return lambda other: (other.double() * factor + shift).softmax(1)


def isotonic(logits: Tensor, labels: Tensor) -> Map:
    """A rising step function for each class against the rest, then normalized over the classes."""
    from scipy.optimize import isotonic_regression  # noqa: PLC0415 - only for those who ask

    probs = logits.double().softmax(1)
    steps: list[tuple[Tensor, Tensor]] = []
    for k in range(probs.shape[1]):
        given, inverse = torch.unique(probs[:, k], return_inverse=True)  # ascending
        count = torch.bincount(inverse, minlength=len(given)).double()
        share = torch.bincount(inverse, (labels == k).double(), minlength=len(given)) / count
        fitted = isotonic_regression(share.numpy(), weights=count.numpy()).x
        steps.append((given, torch.from_numpy(fitted)))

    def apply(other: Tensor) -> Tensor:
        p = other.double().softmax(1)
        columns = [_interpolated(p[:, k], *each) for k, each in enumerate(steps)]
        raised = torch.stack(columns, 1).clamp(min=TINY)
        return raised / raised.sum(1, keepdim=True)

    return apply


def _interpolated(x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Values (n,) at x between the points `at` (M,), ascending; the first and last beyond them."""
    if len(at) == 1:
        return values.expand(len(x))
    right = torch.searchsorted(at, x.contiguous()).clamp(1, len(at) - 1)
    share = ((x - at[right - 1]) / (at[right] - at[right - 1])).clamp(0, 1)
    return torch.lerp(values[right - 1], values[right], share)


def margin(logits: Tensor, labels: Tensor) -> Map:
    """A T for each answer, by a small network from the margin of its two largest logits.

    It learns from the error of soft bins of the confidence, starting from the T of `temperature`.
    """
    start = fit_temperature(logits, labels)
    # (K, N) below, the largest logit at 0: softmax is some ten times as fast along the first axis
    z = (logits.float() - logits.float().amax(1, keepdim=True)).T.contiguous()
    hit = (logits.argmax(1) == labels).float()
    gaps = _margin(logits)
    centre, width = gaps.mean(), gaps.std().clamp(min=TINY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        last = nn.Linear(HIDDEN, 1)
        network = nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), last)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)

    def temperatures(gaps: Tensor) -> Tensor:
        """(N, 1) of margins (N, 1)."""
        found: Tensor = start * network((gaps - centre) / width).clamp(-3, 3).exp()
        return found

    optimizer = torch.optim.Adam(network.parameters(), RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            optimizer.zero_grad()
            confidence = 1 / (z / temperatures(gaps)[:, 0]).exp().sum(0)
            torch.autograd.backward(_soft_ece(confidence, hit))
            optimizer.step()
    network.requires_grad_(False)
    return lambda other: (other.float() / temperatures(_margin(other))).softmax(1)


def _margin(logits: Tensor) -> Tensor:
    """(N, 1) distance of the two largest logits."""
    first, second = logits.float().topk(2, dim=1).values.unbind(1)
    return (first - second)[:, None]


def _soft_ece(confidence: Tensor, hit: Tensor) -> Tensor:
    """The squared calibration error of bins to which every confidence (N,) belongs in part."""
    centres = confidence.detach().quantile((torch.arange(BINS) + 0.5) / BINS)  # as many in each
    width = (centres[1:] - centres[:-1]).clamp(min=1e-3).mean()
    shares = (-((confidence - centres[:, None]).abs() / width)).softmax(0)  # (bins, N)
    return ((shares * (hit - confidence)).mean(1).square() / shares.mean(1)).sum()


RECALIBRATIONS: dict[str, Recalibration] = {
    "temperature": Recalibration("temperature", "one T for all logits", temperature),
    "vector": Recalibration("vector scaling", "a factor and an offset for each class", vector),
    "isotonic": Recalibration("isotonic", "a rising step function for each class", isotonic),
    "margin": Recalibration(
        "margin temperature", "a T for each answer, from its margin (SMART)", margin
    ),
}


def crossfitted(name: str, logits: Arrays, labels: Arrays, *, per: int = 1) -> Tensor:
    """Probabilities (N, K) of recalibrated answers, each by a map fitted on the other half.

    Args:
        name: a key of `RECALIBRATIONS`.
        logits: (N, K); labels: (N,), of pictures that no training saw.
        per: how many answers in a row are of one object, and belong to the same half.

    Raises:
        InvalidInput: an argument is not as above, or there are fewer than two objects.
    """
    z = check_scores(logits, "logits")
    y = check_labels(labels, z)
    inside = halves(len(z), per)
    fit = RECALIBRATIONS[name].fit
    probs = torch.empty_like(z, dtype=torch.float64)
    for part in (inside, ~inside):
        probs[part] = fit(z[~part], y[~part])(z[part]).double()
    return probs


def halves(count: int, per: int = 1) -> Tensor:
    """(count,) bool: which answers are of the first half, the same for all who ask.

    Raises:
        InvalidInput: there are fewer than two objects, or `per` does not divide `count`.
    """
    objects = count // per
    if count % per or objects < 2:
        raise InvalidInput(
            f"expected answers of at least two objects, {per} of each; got {count} answers"
        )
    order = torch.randperm(objects, generator=torch.Generator().manual_seed(0))
    first = torch.zeros(objects, dtype=torch.bool)
    first[order[: objects // 2]] = True
    return first.repeat_interleave(per)
