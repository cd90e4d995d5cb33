"""Is a picture perhaps of none of a model's classes? (Out-of-distribution detection.)

Every classifier answers with one of its classes. `SCORES` are higher for pictures like those that
the model was trained on; a manifest may hold the threshold below which only few held-out pictures
of its own classes fall. A hint, no proof: by construction that share of good pictures gets it too,
and many a foreign picture does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nls_core.errors import InvalidInput, choose
from nls_core.metrics.selective import auroc

GAMMA = 0.1  # of the generalized entropy, as published
BLACK = 8.5 / 255  # a background that a file's compression has left its traces on


@dataclass(frozen=True)
class Score:
    """What a score is called in sentences, and how it comes from logits (N, K) to (N,) float64.

    `picture`: from the model's inputs (N, C, H, W) in [0, 1] instead.
    """

    title: str
    of: Callable[[Tensor], Tensor]
    picture: bool = False


def _confidence(logits: Tensor) -> Tensor:
    return logits.softmax(1).amax(1)


def _energy(logits: Tensor) -> Tensor:
    return logits.logsumexp(1)


def _largest(logits: Tensor) -> Tensor:
    return logits.amax(1)


def _certain(logits: Tensor) -> Tensor:
    p = logits.softmax(1)
    return -(p * (1 - p)).pow(GAMMA).sum(1)


def _plain(x: Tensor) -> Tensor:
    return (x <= BLACK).double().mean((1, 2, 3))


SCORES: dict[str, Score] = {
    "msp": Score("confidence", _confidence),  # Hendrycks & Gimpel 2016, arXiv 1610.02136
    "energy": Score("energy score", _energy),  # Liu et al. 2020, arXiv 2010.03759: -E at T = 1
    "max_logit": Score("largest logit", _largest),  # Hendrycks et al. 2019, arXiv 1911.11132
    # Liu, Lochman and Zach 2023 (GEN, CVPR): minus Σ p^γ (1 - p)^γ, over all classes
    "gen": Score("negative generalized entropy", _certain),
    # data sets of cut-out things have a plain, black background, which photographs have not
    "plain": Score("share of plain background", _plain, picture=True),
}


@dataclass(frozen=True)
class Verdict:
    """One picture's score (a key of `SCORES`) against the threshold of its model.

    `rate` is the share of held-out pictures of the model's own classes that lie below.
    """

    score: str
    value: float
    threshold: float
    rate: float

    @property
    def unfamiliar(self) -> bool:
        """Whether the score lies below the threshold."""
        return self.value < self.threshold

    @property
    def sentence(self) -> str:
        """The hint in words where the picture is unfamiliar, else nothing."""
        if not self.unfamiliar:
            return ""
        return (
            f"Perhaps none of my classes: its {SCORES[self.score].title} ({self.value:.3g}) is "
            f"below that of {100 * (1 - self.rate):.3g} % of held-out pictures "
            f"({self.threshold:.3g} or more)"
        )


Seen = Callable[[str], Sequence[tuple[Tensor, Tensor]]]


def scores(name: str, seen: Tensor) -> Tensor:
    """(N,) float64, higher for more familiar pictures.

    Args:
        name: a key of `SCORES`.
        seen: logits (N, K) before any temperature, or pictures (N, C, H, W), as the score wants.

    Raises:
        UnknownName: no such score.
        InvalidInput: what it is of is not finite, or of another shape.
    """
    score = choose("score", name, SCORES)
    wanted = ("pictures (N, C, H, W)", 4) if score.picture else ("logits (N, K)", 2)
    if seen.ndim != wanted[1] or not seen.numel() or not bool(seen.isfinite().all()):
        raise InvalidInput(f"expected finite {wanted[0]}; got {tuple(seen.shape)} or values")
    return score.of(seen.double())


def threshold(known: Tensor, rate: float = 0.05) -> float:
    """The score below which at most the share `rate` of held-out pictures fall.

    Args:
        known: (N,) scores of held-out pictures of the model's own classes; no test pictures.
        rate: in (0, 1).

    Returns:
        One of the scores: the largest of which at most rate·N others are smaller.

    Raises:
        InvalidInput: no finite scores, or a rate outside its range.
    """
    if not 0.0 < rate < 1.0:
        raise InvalidInput(f"rate must lie in (0, 1); got {rate!r}")
    if known.ndim != 1 or not known.numel() or not bool(known.isfinite().all()):
        raise InvalidInput(f"expected finite scores (N,); got {tuple(known.shape)} or values")
    # 1e-9: 0.05 · 100 is 5.000000000000001 or 4.999999999999999, as the case may be
    return float(known.double().sort().values[int(rate * len(known) + 1e-9)])


def entry(name: str, known: Tensor, rate: float = 0.05, **figures: Any) -> dict[str, Any]:
    """What `Manifest.ood` holds.

    Args:
        name: a key of `SCORES`.
        known: as `scores` takes it, of held-out pictures of the model's own classes.
        rate: as in `threshold`.
        figures: what was measured of the detection (auroc …), and the command that did.

    Raises:
        InvalidInput, UnknownName: as `scores` and `threshold`.
    """
    limit = threshold(scores(name, known), rate)
    return {"score": name, "threshold": limit, "rate": rate, "images": len(known), **figures}


def best(names: Iterable[str], seen: Seen) -> tuple[str, float]:
    """The score that tells outside pictures best, and its AUROC, the mean over networks.

    Every second outside picture chooses, the AUROC is of the others.

    Args:
        names: keys of `SCORES`.
        seen: of a score, for each network, what it takes of the network's own pictures and of
            outside ones; see `scores`.
    """

    def separation(name: str, first: int) -> float:
        return fmean(
            auroc(scores(name, own), scores(name, outside[first::2])) for own, outside in seen(name)
        )

    score = max(names, key=lambda name: separation(name, 0))
    return score, separation(score, 1)


def check(ood: Mapping[str, Any]) -> None:
    """Raise ValueError unless `ood` is empty or as `entry` makes it."""
    if not ood:
        return
    choose("score", ood.get("score", ""), SCORES)
    limit, rate = ood.get("threshold"), ood.get("rate")
    if not isinstance(limit, float | int) or not isinstance(rate, float | int):
        raise ValueError(f"expected numbers as threshold and rate; got {limit!r} and {rate!r}")
    if not math.isfinite(limit) or not 0 < rate < 1:
        raise ValueError(f"expected a finite threshold, a rate in (0, 1); got {limit}, {rate}")


def judge(ood: Mapping[str, Any], logits: ArrayLike, x: ArrayLike) -> Verdict | None:
    """The verdict on one picture: its logits (K,), and what the model sees of it, x (C, H, W).

    None where the manifest has no threshold.
    """
    if not ood:
        return None
    name = str(ood["score"])
    # a hint must not fail an analysis, whatever the logits: so SCORES, not `scores`
    seen = torch.as_tensor(x if SCORES[name].picture else logits)
    value = SCORES[name].of(seen.double()[None]).item()
    return Verdict(name, float(value), float(ood["threshold"]), float(ood["rate"]))
