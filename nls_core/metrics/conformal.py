"""Prediction sets: the classes that cannot be ruled out, right at least as often as asked.

Split-conformal prediction: a class's score tells how badly it conforms to the model's answer, and
a set holds the classes whose scores are no larger than a quantile of the true classes' scores in
other answers. Where those and new pictures are exchangeable, a set misses the true class with
probability `miss` at most (Vovk et al. 2005).

Sources: Sadinle, Lei & Wasserman 2019, arXiv 1609.00451 (THR); Romano, Sesia & Candès 2020,
arXiv 2006.02544 (APS); Angelopoulos et al. 2021, arXiv 2009.14193 (RAPS). APS and RAPS draw how
much of a class's own probability counts: without that they cover nearly everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.metrics import selective
from nls_core.metrics.recalibration import halves

MISS = 0.05  # one in twenty
FREE, PENALTY = 1, 0.05  # RAPS: classes without a penalty, and that of each further one


def thr(probs: Tensor) -> Tensor:
    """(N, K) scores: 1 minus the probability; the smallest sets on average."""
    return 1 - probs.double()


def aps(probs: Tensor) -> Tensor:
    """(N, K) scores: the probability of all likelier classes, and a drawn share of the class's.

    The draws, one for each row, are the same for all who ask.
    """
    ordered, order = probs.double().sort(dim=1, descending=True, stable=True)
    drawn = torch.rand(
        len(probs), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return torch.empty_like(ordered).scatter_(1, order, ordered.cumsum(1) - drawn * ordered)


def raps(probs: Tensor) -> Tensor:
    """(N, K) scores: as `aps`, and a penalty for each class beyond the first `FREE`."""
    ranks = 1 + probs.double().argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return aps(probs) + (ranks - FREE).clamp(min=0).double() * PENALTY


SCORES: dict[str, Callable[[Tensor], Tensor]] = {"thr": thr, "aps": aps, "raps": raps}


@dataclass(frozen=True)
class Sets:
    """How prediction sets do: share of true classes inside, and classes in a set on average."""

    coverage: float
    size: float


def limit(scores: Tensor, miss: float = MISS) -> float:
    """The largest score inside a set: a quantile of the true classes' scores (n,).

    It is infinite where so few answers cannot tell.

    Raises:
        InvalidInput: there are no scores, or `miss` is not in (0, 1).
    """
    if not 0 < miss < 1 or not len(scores):
        raise InvalidInput(f"expected scores and a share in (0, 1); got {len(scores)} and {miss}")
    rank = math.ceil((len(scores) + 1) * (1 - miss) - 1e-9)
    return float(scores.double().sort().values[rank - 1]) if rank <= len(scores) else math.inf


def sets(scores: Tensor, largest: float) -> Tensor:
    """(N, K) bool: the classes of each set; the most conforming is always inside."""
    inside = scores <= largest
    best = scores.argmin(1, keepdim=True)
    return inside.scatter(1, best, torch.ones_like(best, dtype=torch.bool))


def crossfitted(
    name: str, probs: Tensor, labels: Tensor, *, miss: float = MISS, per: int = 1
) -> Sets:
    """How sets do whose limit comes from the other half of the answers, as `recalibration` has it.

    Args:
        name: a key of `SCORES`.
        probs: (N, K); labels: (N,).
        miss: the share of true classes that may be outside.
        per: how many answers in a row are of one object.

    Raises:
        InvalidInput: see `limit` and `recalibration.halves`.
    """
    scores = SCORES[name](probs)
    mine = scores.gather(1, labels[:, None])[:, 0]
    inside, first = torch.empty_like(scores, dtype=torch.bool), halves(len(probs), per)
    for part in (first, ~first):
        inside[part] = sets(scores[part], limit(mine[~part], miss))
    covered = inside.gather(1, labels[:, None]).double().mean()
    return Sets(float(covered), float(inside.sum(1).double().mean()))


def abstain_below(probs: Tensor, labels: Tensor, wrong: float = MISS) -> float:
    """The least confidence from which on at most a share of the answers is wrong, in [0, 1].

    Confidences that are equal are kept, or withheld, together. Above 1 where even the most
    confident answers are wrong more often: all are withheld.
    """
    confidence, named = probs.max(1)
    ordered, risk = selective.risks(confidence.double(), (named != labels).double())
    last = torch.cat([ordered[1:] != ordered[:-1], torch.tensor([True])])  # of equal confidences
    allowed = torch.nonzero(last & (risk <= wrong)).flatten()
    return float(ordered[allowed[-1]]) if len(allowed) else math.nextafter(1.0, 2.0)


@dataclass(frozen=True)
class Use:
    """What may be done with one answer: its set, the likeliest class first, or to withhold it.

    The set misses the true class, and answers of at least `enough` confidence are wrong, for a
    share of `miss` of the pictures that the limits come from.
    """

    classes: tuple[int, ...]
    withheld: bool
    enough: float
    miss: float


def entry(probs: Tensor, labels: Tensor) -> dict[str, float]:
    """What `Manifest.limits` holds: of THR, whose sets are the smallest and without a draw.

    Args:
        probs: (N, K) of pictures that no training saw; labels: (N,).
    """
    scores = thr(probs).gather(1, labels[:, None])[:, 0]
    # 1: so few answers that no class can be ruled out
    inside = min(limit(scores), 1.0)
    return {"miss": MISS, "inside": inside, "abstain_below": abstain_below(probs, labels)}


def check(limits: Mapping[str, Any]) -> None:
    """Raise ValueError unless `limits` is empty or as `entry` makes it."""
    if not limits:
        return
    values = {key: limits.get(key) for key in ("miss", "inside", "abstain_below")}
    for key, value in values.items():
        if not isinstance(value, float | int) or not 0 <= value < 1.001:
            raise ValueError(f"expected a number in [0, 1] as {key}; got {value!r}")


def judge(limits: Mapping[str, Any], probabilities: ArrayLike) -> Use | None:
    """What may be done with one answer (K,), or None where the manifest has no limits."""
    if not limits:
        return None
    row: list[float] = np.asarray(probabilities, np.float64).tolist()
    order = sorted(range(len(row)), key=lambda k: -row[k])
    kept = tuple(k for k in order if 1 - row[k] <= limits["inside"])
    enough = float(limits["abstain_below"])
    return Use(kept or (order[0],), row[order[0]] < enough, enough, float(limits["miss"]))
