"""The metrics of predictions on thousands of resamples of the images, many resamples at a time.

Each function gives for resamples what its namesake in `calibration` or `selective` gives for the
drawn images alone (tests compare them); a resample is a row of W (R, N), how often each image was
drawn. Thousands of calls of the namesakes would take minutes a run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nls_core.metrics import calibration, selective
from nls_core.metrics.bootstrap import draws

CHUNK = 100  # resamples at a time: (100, 10,000) float64 are 8 MB


@dataclass(frozen=True)
class Predictions:
    """One run's answers to N images, prepared once for all resamples.

    `probs` (N, K), `labels` (N,), `confidence` and `hit` (N,) of the named class in float64;
    `order` (N,) from the most to the least confident.
    """

    probs: Tensor
    labels: Tensor
    confidence: Tensor
    hit: Tensor
    order: Tensor

    @classmethod
    def of(cls, probs: Tensor, labels: Tensor) -> Predictions:
        """Prepare probabilities (N, K) with labels (N,)."""
        confidence, named = probs.max(1)
        return cls(
            probs,
            labels,
            confidence.double().clamp(max=1.0),
            (named == labels).double(),
            confidence.argsort(descending=True, stable=True),
        )


@dataclass(frozen=True)
class Resamples:
    """Some resamples of N images: `weights` (R, N) float64 counts of rows drawn from (R, N)."""

    weights: Tensor

    @classmethod
    def of(cls, draws: Tensor) -> Resamples:
        """Count how often `draws` (R, N) name each of the N images."""
        rows, images = draws.shape
        flat = (draws + images * torch.arange(rows)[:, None]).flatten()
        return cls(torch.bincount(flat, minlength=rows * images).view(rows, images).double())

    def mean(self, values: Tensor) -> Tensor:
        """(R,) means of values (N,), or (R, M) of (N, M)."""
        return self.weights @ values.double() / self.weights.shape[1]

    def ranked(self, order: Tensor) -> Tensor:
        """(R, N) places in `order` of the drawn images, ascending: a sort of each resample."""
        rows, images = self.weights.shape
        counts = self.weights[:, order].long().flatten()
        places = torch.arange(images).repeat(rows)
        return places.repeat_interleave(counts).view(rows, images)


@lru_cache(maxsize=1)
def shared(images: int, count: int) -> tuple[Resamples, ...]:
    """`count` resamples of some images, in parts of `CHUNK`; for figures that have no others."""
    return tuple(Resamples.of(part) for part in torch.split(draws(images, count), CHUNK))


def _bins(index: Tensor, bins: int) -> Tensor:
    return torch.nn.functional.one_hot(index, bins).double()  # (N, bins)


def _equal_width(p: Predictions) -> Tensor:
    return calibration.bin_index(p.confidence, calibration.bin_edges(calibration.BINS)[1:-1])


def accuracy(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `calibration.accuracy`."""
    return r.mean(p.hit)


def ece(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `calibration.ece`."""
    inside = _bins(_equal_width(p), calibration.BINS)
    return r.mean(inside * (p.hit - p.confidence)[:, None]).abs().sum(1)


def mce(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `calibration.mce`."""
    inside = _bins(_equal_width(p), calibration.BINS)
    gaps, shares = r.mean(inside * (p.hit - p.confidence)[:, None]), r.mean(inside)
    return (gaps.abs() / shares.clamp(min=1 / len(p.hit))).amax(1)


def adaptive_ece(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `calibration.adaptive_ece`."""
    images, bins = len(p.hit), calibration.BINS
    ascending = p.order.flip(0)
    ranked = r.ranked(ascending)  # (R, N)
    gaps = (p.hit - p.confidence)[ascending][ranked].cumsum(1)
    ends = torch.tensor([i * images // bins for i in range(1, bins) if i * images // bins > 0])
    # a bin ends with the last of the confidences that are equal to the one at its end
    values = p.confidence.float()[ascending]
    last_equal = torch.searchsorted(values, values, right=True) - 1  # (N,)
    closing = last_equal[ranked[:, ends - 1]]  # (R, bins - 1)
    drawn = r.weights[:, ascending].cumsum(1).gather(1, closing).long()  # images up to there
    at = torch.cat([torch.zeros(len(gaps), 1), gaps], 1).double().gather(1, drawn)
    edges = torch.cat([torch.zeros_like(at[:, :1]), at, gaps[:, -1:]], 1)
    return edges.diff(dim=1).abs().sum(1) / images


def classwise_ece(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `calibration.classwise_ece`."""
    classes, bins = p.probs.shape[1], calibration.BINS
    index = calibration.bin_index(p.probs, calibration.bin_edges(bins)[1:-1])  # (N, K)
    gaps = torch.nn.functional.one_hot(p.labels, classes).double() - p.probs.double()
    sums = sum(
        r.mean(_bins(index[:, k], bins) * gaps[:, k : k + 1]).abs().sum(1) for k in range(classes)
    )
    return torch.as_tensor(sums) / classes


def brier(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `calibration.brier`."""
    gaps = p.probs.double() - torch.nn.functional.one_hot(p.labels, p.probs.shape[1])
    return r.mean(gaps.square().sum(1))


def nll(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `calibration.nll`."""
    tiny = torch.finfo(p.probs.dtype).tiny
    picked = p.probs.gather(1, p.labels[:, None])[:, 0].clamp(min=tiny, max=1.0)
    return -r.mean(picked.double().log())


def error_auroc(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `selective.error_auroc`; NaN where all drawn answers are right, or all wrong."""
    ascending = p.order.flip(0)
    values = p.confidence[ascending]
    _, tied = torch.unique_consecutive(values, return_counts=True)
    ends = tied.cumsum(0) - 1  # of each group of equal confidences
    hit, weights = p.hit[ascending], r.weights[:, ascending]
    right = (weights * hit).cumsum(1)[:, ends]  # (R, groups), up to and with a group
    wrong = (weights * (1 - hit)).cumsum(1)[:, ends]
    zero = torch.zeros_like(right[:, :1])
    rights, wrongs = (torch.cat([zero, each], 1).diff(dim=1) for each in (right, wrong))
    below = wrong - wrongs / 2  # wrong answers below, those of equal confidence counted half
    return (rights * below).sum(1) / (right[:, -1] * wrong[:, -1])


def aurc(p: Predictions, r: Resamples) -> Tensor:
    """(R,) of `selective.aurc`; equal confidences in the order of the images."""
    wrong = (1 - p.hit)[p.order][r.ranked(p.order)]
    answered = torch.arange(1, wrong.shape[1] + 1, dtype=torch.float64)
    return (wrong.cumsum(1) / answered).mean(1)


RESAMPLED: dict[str, Callable[[Predictions, Resamples], Tensor]] = {
    "accuracy": accuracy,
    "ece": ece,
    "adaptive_ece": adaptive_ece,
    "mce": mce,
    "classwise_ece": classwise_ece,
    "brier": brier,
    "nll": nll,
    "error_auroc": error_auroc,
    "aurc": aurc,
}
# what each is of all images
METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    **calibration.METRICS,
    "error_auroc": selective.error_auroc,
    "aurc": selective.aurc,
}


def resampled(
    probs: Tensor, labels: Tensor, drawn: Tensor, names: Collection[str] = tuple(RESAMPLED)
) -> Mapping[str, Tensor]:
    """Metrics on each resample.

    Args:
        probs: (N, K); labels: (N,).
        drawn: (R, N) indices of the drawn images.
        names: of the metrics, keys of `RESAMPLED`.

    Returns:
        name -> (R,) float64.
    """
    prepared = Predictions.of(probs, labels)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for part in torch.split(drawn, CHUNK):
        resamples = Resamples.of(part)
        for name in names:
            parts[name].append(RESAMPLED[name](prepared, resamples))
    return {name: torch.cat(each) for name, each in parts.items()}
