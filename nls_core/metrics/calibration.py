"""Is the confidence deserved? Pure functions of probabilities (N, K) and labels (N,).

Every metric is a Python float, not a percentage. Bins are right-closed, (a, b], with 0 in the
first. Confidences and edges are compared in float32, so that 0.2 lies on the edge 3/15 in
either precision and a float32 confidence a hair above 1 lies in the last bin; sums run in
float64. torchmetrics and netcal close their bins on the left: they differ from these figures
only where a confidence falls on an edge.

Sources: Naeini et al. 2015 (AAAI) and Guo et al. 2017, arXiv 1706.04599 (ECE, MCE, reliability
diagram); Nguyen & O'Connor 2015, arXiv 1508.05154 (equal-mass bins); Kull et al.
2019, arXiv 1910.12656 (classwise ECE); Brier 1950; Wilson 1927.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nls_core.errors import InvalidInput

BINS = 15
_ROW_SUM_TOLERANCE = 1e-3  # half-precision softmax, or probabilities printed with 4 digits
_Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution

Arrays = Tensor | ArrayLike
FloatArray64 = NDArray[np.float64]


def check_scores(scores: Arrays, what: str) -> Tensor:
    """Probabilities or logits, by the name `what` in errors, as a tensor (N, K) without gradients.

    Raises:
        InvalidInput: they are not finite (N, K) of a float dtype, with N ≥ 1 and K ≥ 2.
    """
    tensor = torch.as_tensor(scores).detach()
    if tensor.ndim != 2 or tensor.shape[0] < 1 or tensor.shape[1] < 2:
        raise InvalidInput(
            f"{what} must be (N, K) with N ≥ 1 and K ≥ 2; got shape {tuple(tensor.shape)}"
        )
    if not tensor.is_floating_point():
        raise InvalidInput(f"{what} must be of a float dtype; got {tensor.dtype}")
    if not bool(torch.isfinite(tensor).all()):
        raise InvalidInput(f"{what} must be finite; got NaN or infinity")
    return tensor


def check_labels(labels: Arrays, scores: Tensor) -> Tensor:
    """Labels as a tensor (N,) int64 on the device of `scores` (N, K).

    Raises:
        InvalidInput: they are not N integers in [0, K).
    """
    tensor = torch.as_tensor(labels, device=scores.device).detach()
    rows, classes = scores.shape
    if tensor.shape != (rows,):
        raise InvalidInput(f"labels must be ({rows},), one per row; got {tuple(tensor.shape)}")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InvalidInput(f"labels must be of an integer dtype; got {tensor.dtype}")
    tensor = tensor.long()
    low, high = int(tensor.min()), int(tensor.max())
    if not 0 <= low <= high < classes:
        raise InvalidInput(f"labels must lie in [0, {classes}); got values from {low} to {high}")
    return tensor


def _check(probs: Arrays, labels: Arrays) -> tuple[Tensor, Tensor]:
    """Checked probabilities in their own dtype, and int64 labels."""
    p = check_scores(probs, "probs")
    if bool((p < 0).any()):
        raise InvalidInput(f"probs must be at least 0; got {float(p.min())}")
    off = float((p.double().sum(1) - 1).abs().max())
    if off > _ROW_SUM_TOLERANCE:
        raise InvalidInput(
            f"rows of probs must sum to 1 within {_ROW_SUM_TOLERANCE}; got one off by {off:.3g}"
            " (are these logits?)"
        )
    return p, check_labels(labels, p)


def top1(probs: Arrays, labels: Arrays) -> tuple[Tensor, Tensor]:
    """(N,) float64 confidences and (N,) float64 hits in {0, 1}."""
    p, y = _check(probs, labels)
    confidence, predicted = p.max(1)
    return confidence.double().clamp(max=1.0), (predicted == y).double()


def bin_edges(bins: int, device: torch.device | None = None) -> Tensor:
    """(bins + 1,) float64; i / bins is the closest number to each edge, unlike i * (1 / bins)."""
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise InvalidInput(f"bins must be an integer of at least 1; got {bins!r}")
    return torch.arange(bins + 1, dtype=torch.float64, device=device) / bins


def bin_index(values: Tensor, inner_edges: Tensor) -> Tensor:
    """The right-closed bin of each value, given the edges between bins; of any shape."""
    return torch.bucketize(values.float(), inner_edges.float())


def _sums(index: Tensor, bins: int, *values: Tensor) -> list[Tensor]:
    """(bins,) float64 counts, then (bins,) sums of each of the (N,) values."""
    weights = [torch.ones_like(values[0]), *values]
    return [torch.bincount(index, weights=weight, minlength=bins) for weight in weights]


def _equal_width(probs: Arrays, labels: Arrays, bins: int) -> list[Tensor]:
    """(bins,) counts, sums of confidence and sums of hits."""
    confidence, hit = top1(probs, labels)
    edges = bin_edges(bins, confidence.device)
    return _sums(bin_index(confidence, edges[1:-1]), bins, confidence, hit)


def accuracy(probs: Arrays, labels: Arrays) -> float:
    """The fraction of rows whose most probable class is the label; in [0, 1]."""
    return float(top1(probs, labels)[1].mean())


def ece(probs: Arrays, labels: Arrays, bins: int = BINS) -> float:
    """Expected calibration error of the top-1 confidence (AAAI 2015; arXiv 1706.04599).

    Σ_b (n_b / N) |accuracy_b - confidence_b| over `bins` bins of equal width.

    Args:
        probs: (N, K) probabilities, rows summing to 1, of any float dtype; tensor or array.
        labels: (N,) integer labels in [0, K).
        bins: at least 1.

    Returns:
        A float in [0, 1].

    Raises:
        InvalidInput: an argument is not as above.
    """
    counts, confidence, hits = _equal_width(probs, labels, bins)
    return float((hits - confidence).abs().sum() / counts.sum())


def mce(probs: Arrays, labels: Arrays, bins: int = BINS) -> float:
    """Maximum calibration error: the largest |accuracy_b - confidence_b|; arguments as `ece`."""
    counts, confidence, hits = _equal_width(probs, labels, bins)
    return float(((hits - confidence).abs() / counts.clamp(min=1)).max())


def adaptive_ece(probs: Arrays, labels: Arrays, bins: int = BINS) -> float:
    """`ece` over bins of equal mass (arXiv 1508.05154); arguments and range as `ece`.

    The edges are order statistics of the confidences, so bins differ by at most one sample;
    equal confidences share a bin, whatever their order, and then bins are less even.
    """
    confidence, hit = top1(probs, labels)
    rows = len(confidence)
    ends = [i * rows // bins for i in range(1, len(bin_edges(bins)) - 1)]
    last = torch.tensor([end - 1 for end in ends if end > 0], device=confidence.device)
    index = bin_index(confidence, confidence.sort().values[last.long()])
    _, confidences, hits = _sums(index, bins, confidence, hit)
    return float((hits - confidences).abs().sum() / rows)


def classwise_ece(probs: Arrays, labels: Arrays, bins: int = BINS) -> float:
    """The mean over classes of each class's own ECE (arXiv 1910.12656); arguments as `ece`.

    For class k the confidence is p_k in all N rows and a hit is y = k; bins of equal width.
    """
    p, y = _check(probs, labels)
    rows, classes = p.shape
    index = bin_index(p, bin_edges(bins, p.device)[1:-1])  # (N, K)
    index = index + bins * torch.arange(classes, device=p.device)  # K histograms in one
    gaps = torch.nn.functional.one_hot(y, classes).double() - p.double()  # (N, K)
    (_, sums) = _sums(index.flatten(), bins * classes, gaps.flatten())
    return min(float(sums.abs().sum() / (rows * classes)), 1.0)


def brier(probs: Arrays, labels: Arrays) -> float:
    """The mean over rows of Σ_k (p_k - [y = k])² (Brier 1950); in [0, 2]; arguments as `ece`."""
    p, y = _check(probs, labels)
    gaps = p.double() - torch.nn.functional.one_hot(y, p.shape[1])
    return float(gaps.square().sum(1).mean())


def nll(probs: Arrays, labels: Arrays) -> float:
    """The mean of -log p_y in nats, ≥ 0; arguments as `ece`.

    A p_y that underflowed to 0 counts as the smallest normal number of its dtype, so the value
    is finite.
    """
    p, y = _check(probs, labels)
    picked = p.gather(1, y[:, None]).clamp(min=torch.finfo(p.dtype).tiny, max=1.0)
    return abs(float(picked.double().log().mean()))


METRICS: dict[str, Callable[[Arrays, Arrays], float]] = {
    "accuracy": accuracy,
    "ece": ece,
    "adaptive_ece": adaptive_ece,
    "mce": mce,
    "classwise_ece": classwise_ece,
    "brier": brier,
    "nll": nll,
}


def bin_of(confidence: float, bins: int = BINS) -> int:
    """The equal-width, right-closed bin of one confidence in [0, 1], counted from 0.

    Raises:
        InvalidInput: the confidence is outside [0, 1] by more than rounding, or `bins` < 1.
    """
    edges = bin_edges(bins)
    if not -1e-6 <= confidence <= 1.0 + 1e-6:
        raise InvalidInput(f"a confidence must lie in [0, 1]; got {confidence!r}")
    return int(bin_index(torch.tensor(confidence, dtype=torch.float64), edges[1:-1]))


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: arrays over equal-width, right-closed bins of the confidence.

    `edges` is (bins + 1,), `counts` (bins,) int64. `accuracy`, `confidence` (means over the
    bin) and `low`, `high` (the 95 % Wilson interval of the accuracy) are (bins,) in [0, 1], NaN
    where a bin is empty.
    """

    edges: FloatArray64
    counts: NDArray[np.int64]
    accuracy: FloatArray64
    confidence: FloatArray64
    low: FloatArray64
    high: FloatArray64

    def bin_of(self, confidence: float) -> int:
        """Which of these bins a confidence lies in; see `bin_of`."""
        return bin_of(confidence, len(self.counts))

    def to_dict(self) -> dict[str, list[float | None]]:
        """Lists that JSON can hold: None stands for NaN."""
        return {
            name: [None if math.isnan(value) else value for value in array.tolist()]
            for name, array in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reliability:
        """The inverse of `to_dict`.

        Raises:
            InvalidInput: a list is missing, unknown, not of numbers, or of another length.
        """
        try:
            arrays = {name: np.array(values, dtype=np.float64) for name, values in data.items()}
            counts = np.array(data["counts"], dtype=np.int64)
            result = cls(**{**arrays, "counts": counts})  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"not a reliability diagram: {error}") from None
        bins = len(counts)
        shapes = {name: array.shape for name, array in arrays.items()}
        if bins < 1 or shapes != {**dict.fromkeys(arrays, (bins,)), "edges": (bins + 1,)}:
            raise InvalidInput(f"expected arrays of one length and one more edge; got {shapes}")
        return result


def reliability(probs: Arrays, labels: Arrays, bins: int = BINS) -> Reliability:
    """The reliability diagram behind `ece` (arXiv 1706.04599); arguments as `ece`."""
    counts, confidence, hits = (sums.cpu().numpy() for sums in _equal_width(probs, labels, bins))
    n = np.where(counts > 0, counts, np.nan)
    rate, z2 = hits / n, _Z95**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * np.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return Reliability(
        edges=bin_edges(bins).numpy(),
        counts=counts.astype(np.int64),
        accuracy=rate,
        confidence=confidence / n,
        low=np.clip(centre - half, 0.0, 1.0),
        high=np.clip(centre + half, 0.0, 1.0),
    )
