"""Intervals that cover new runs and new images, and whether a difference is one.

Runs of one seed share their initial weights and the order of their batches, and all runs are
measured on the same images, so runs are compared in pairs, image by image. A bootstrap that draws
a handful of pairs covers far less than it says (73 to 92 % with three); Student's t over the
seeds, with the images' own variance added, does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev, variance
from typing import Any

import torch
from torch import Tensor

LEVEL = 0.95
INNER = 0.90  # two one-sided tests at 5 % are a 90 % interval within the margin


@dataclass(frozen=True)
class Interval:
    """A mean over runs with its 95 % interval (`low`, `high`) and 90 % one, and the p of 0.

    `p` is two-sided, that the true value is 0. All five are None where one run is all and nothing
    is known of its images. `pairs` counts the runs.
    """

    mean: float
    low: float | None
    high: float | None
    low_90: float | None
    high_90: float | None
    p: float | None
    pairs: int
    method: str

    def as_difference(self) -> dict[str, Any]:
        """A difference as reports hold it: the mean under the name 'difference'."""
        found = asdict(self)
        return {"difference": found.pop("mean")} | found


def spread(values: Iterable[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation over runs (None for one), and how many there are."""
    kept = list(values)
    return {"mean": fmean(kept), "sd": stdev(kept) if len(kept) > 1 else None, "n": len(kept)}


def figure(
    values: Mapping[int, float], resampled: Mapping[int, Tensor] | None = None
) -> dict[str, Any]:
    """A figure as reports hold it: `spread`, and the ends of `interval`, with its arguments."""
    found = interval(values, resampled)
    ends = {"low": found.low, "high": found.high} if found else {"low": None, "high": None}
    return spread(values.values()) | ends


def interval(
    values: Mapping[int, float], resampled: Mapping[int, Tensor] | None = None
) -> Interval | None:
    """Student's t over the seeds, their variance joined by that of the images.

    The variance of the mean is s²/n over the n seeds, plus the variance of the mean over resamples
    of the images; the degrees of freedom are those of Welch (1947) and Satterthwaite (1946), the
    images counting as many.

    Args:
        values: seed -> figure on all images.
        resampled: seed -> (R,) the figure on R resamples of the images, the same draws for every
            seed; None for a figure that has none: its interval is over seeds alone.

    Returns:
        None without values.
    """
    if not values:
        return None
    count, mean = len(values), fmean(values.values())
    between = variance(values.values()) / count if count > 1 else 0.0
    images = 0.0
    if resampled is not None:
        drawn = torch.stack([resampled[seed] for seed in values]).mean(0)
        drawn = drawn[drawn.isfinite()]
        images = float(drawn.var()) if len(drawn) > 1 else 0.0
    method = _method(count, resampled is not None)
    if count == 1 and resampled is None:
        return Interval(mean, None, None, None, None, None, 1, method)
    freedom = math.inf
    if between > 0:
        freedom = (count - 1) * ((between + images) / between) ** 2
    error = math.sqrt(between + images)
    half, inner = (error * _quantile(level, freedom) for level in (LEVEL, INNER))
    p = _tails(abs(mean) / error, freedom) if error else float(mean == 0)
    return Interval(mean, mean - half, mean + half, mean - inner, mean + inner, p, count, method)


def difference(
    mine: Mapping[int, float],
    base: Mapping[int, float],
    resampled: tuple[Mapping[int, Tensor], Mapping[int, Tensor]] | None = None,
    *,
    factor: float = 1.0,
) -> Interval | None:
    """`interval` of mine - factor · base over the seeds that both have, seed by seed.

    With a factor f it tells whether the ratio of two means is below f (Fieller 1940): it is where
    the whole interval lies below 0.

    Args:
        mine, base: seed -> figure.
        resampled: the same of `resampled` in `interval`, both on the same draws.
        factor: of `base`.

    Returns:
        None where they have no seed in common.
    """
    seeds = sorted(set(mine) & set(base))
    gaps = {seed: mine[seed] - factor * base[seed] for seed in seeds}
    if resampled is None:
        return interval(gaps)
    ours, theirs = resampled
    return interval(gaps, {seed: ours[seed] - factor * theirs[seed] for seed in seeds})


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for their number by Holm (1979), in the given order."""
    adjusted, worst = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min((len(ps) - rank) * ps[place], 1.0))
        adjusted[place] = worst
    return adjusted


def _method(count: int, images: bool) -> str:
    if count == 1:
        return "images of one run" if images else "one run: no interval"
    return "t over seeds" + (" and images" if images else "")


def _quantile(level: float, freedom: float) -> float:
    """Of Student's t."""
    from scipy.special import stdtrit  # noqa: PLC0415 - 26 MB that a server may never need

    return float(stdtrit(freedom, (1 + level) / 2))


def _tails(t: float, freedom: float) -> float:
    """The probability of Student's t beyond ±t."""
    from scipy.special import stdtr  # noqa: PLC0415 - as above; scipy.stats takes a second

    return float(2 * stdtr(freedom, -t))
