"""Intervals: how far a difference between two sets of runs may be chance.

Runs of one seed share their initial weights and the order of their batches, and all runs are
measured on the same test images, so runs are compared in pairs, image by image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

import torch
from scipy.stats import t as student
from torch import Tensor

Metric = Callable[[Tensor, Tensor], float]  # (N, K) probabilities, (N,) labels -> number
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A difference of means with its 95 % interval; the interval is None where one pair is all."""

    difference: float
    low: float | None
    high: float | None
    pairs: int
    method: str


def by_seed(mine: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """Student's t interval of the mean difference over the seeds that both have.

    Args:
        mine: seed -> value; base: the same of what it is compared with.

    Returns:
        None where they have no seed in common.
    """
    seeds = sorted(set(mine) & set(base))
    if not seeds:
        return None
    gaps = [mine[seed] - base[seed] for seed in seeds]
    mean = fmean(gaps)
    if len(gaps) == 1:
        return Difference(mean, None, None, 1, "one pair of runs: no interval")
    quantile = float(student.ppf((1 + LEVEL) / 2, len(gaps) - 1))
    half = quantile * stdev(gaps) / math.sqrt(len(gaps))
    return Difference(mean, mean - half, mean + half, len(gaps), "paired t over seeds")


@lru_cache(maxsize=4)
def draws(count: int, resamples: int, seed: int = 0) -> Tensor:
    """(resamples, count) indices of images, drawn with replacement: the same for all who ask.

    What is measured on the same draws can be compared in pairs. Do not write to it.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(count, (resamples, count), generator=generator)


def interval(value: float, drawn: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a figure: percentiles of its resamples, moved onto the figure itself.

    They are moved so that their mean is the figure: the ECE of resampled images is biased
    upwards, and most for a model of small ECE.

    Args:
        value: on all images.
        drawn: on each resample.
    """
    tail = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    ends = torch.tensor(drawn, dtype=torch.float64).quantile(tail) - fmean(drawn) + value
    low, high = ends.tolist()
    return low, high


def resampled(
    runs: Mapping[str, Mapping[int, Tensor]],
    labels: Tensor,
    metrics: Mapping[str, Metric],
    *,
    resamples: int,
    seed: int = 0,
    per: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, dict[int, dict[str, float]]]]:
    """Measure every run on the same resampled images, again and again.

    Args:
        runs: cell -> seed -> (N, K) probabilities.
        labels: (N,).
        metrics: name -> metric.
        resamples: how often N images are drawn with replacement.
        seed: fixes the draws.
        per: how many images in a row belong together and are drawn together.
        progress: called with 1 after each resample.

    Returns:
        One cell -> seed -> name -> value for each resample.
    """
    rounds = []
    for drawn_groups in draws(len(labels) // per, resamples, seed):
        index = (drawn_groups[:, None] * per + torch.arange(per)).flatten()
        drawn = labels[index]
        rounds.append(
            {
                cell: {
                    run: {name: metric(probs[index], drawn) for name, metric in metrics.items()}
                    for run, probs in seeds.items()
                }
                for cell, seeds in runs.items()
            }
        )
        progress(1)
    return rounds


def by_image_and_seed(
    mine: Mapping[int, float],
    base: Mapping[int, float],
    rounds: Sequence[tuple[Mapping[int, float], Mapping[int, float]]],
    *,
    seed: int = 0,
) -> Difference | None:
    """Interval of a paired bootstrap over images and, beyond one, over seeds; see `interval`.

    Args:
        mine: seed -> value on the whole test split; base: the same of the other cell.
        rounds: (mine, base) on each resample of the images.
        seed: fixes which pairs of runs are drawn for each resample.

    Returns:
        None where they have no seed in common.
    """
    seeds = sorted(set(mine) & set(base))
    if not seeds:
        return None
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for a, b in rounds:
        picks = torch.randint(len(seeds), (len(seeds),), generator=generator).tolist()
        drawn.append(fmean(a[seeds[i]] - b[seeds[i]] for i in picks))
    mean = fmean(mine[i] - base[i] for i in seeds)
    low, high = interval(mean, drawn)
    over = "images" if len(seeds) == 1 else "images and seeds"
    return Difference(mean, low, high, len(seeds), f"paired bootstrap over {over}")
