"""The bootstrap over images: draws that all runs share, and percentile intervals of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from statistics import fmean

import torch
from torch import Tensor

Metric = Callable[[Tensor, Tensor], float]  # (N, K) probabilities, (N,) labels -> number
LEVEL = 0.95


@lru_cache(maxsize=4)
def draws(count: int, resamples: int, seed: int = 0, per: int = 1) -> Tensor:
    """(resamples, count) indices of images, drawn with replacement: the same for all who ask.

    What is measured on the same draws can be compared in pairs. Do not write to it. With `per`,
    so many images in a row belong together, and are drawn together.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(count // per, (resamples, count // per), generator=generator)
    return (groups[..., None] * per + torch.arange(per)).flatten(1)


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
    for index in draws(len(labels), resamples, seed, per):
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
