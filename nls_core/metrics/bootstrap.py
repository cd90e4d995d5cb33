"""The bootstrap over images: draws that all runs share, and metrics on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

Metric = Callable[[Tensor, Tensor], float]  # (N, K) probabilities, (N,) labels -> number


@lru_cache(maxsize=4)
def draws(count: int, resamples: int, seed: int = 0, per: int = 1) -> Tensor:
    """(resamples, count) indices of images, drawn with replacement: the same for all who ask.

    What is measured on the same draws can be compared in pairs. Do not write to it. With `per`,
    so many images in a row belong together, and are drawn together.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(count // per, (resamples, count // per), generator=generator)
    return (groups[..., None] * per + torch.arange(per)).flatten(1)


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
