"""Calibration errors beside what chance and bins make of them.

The ECE of a perfectly calibrated model on N images is not 0: each bin's accuracy is a mean of few
answers. Arguments are those of `calibration.ece`; all are of the top-1 confidence.

Sources: Bröcker 2012 (doi 10.1007/s00382-011-1191-1; the bias), Kumar et al. 2019,
arXiv 1909.10155 (its estimate), Błasiok & Nakkiran 2023, arXiv 2309.12236 (smooth ECE).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nls_core.metrics.calibration import BINS, Arrays, bin_edges, bin_index, top1

DRAWS = 200  # of the labels, for the noise floor
GRID = 4096  # cells of [0, 1] on which smooth ECE is computed
_HALVINGS = 40  # of [0, 1], in the search for its width


def ece_floor(
    probs: Arrays, labels: Arrays, bins: int = BINS, *, draws: int = DRAWS, seed: int = 0
) -> float:
    """The mean ECE were the model calibrated: right as often as it says, on as many images.

    Labels are drawn from the model's own probabilities; of them only whether they are the named
    class counts, with the chance of the confidence. An ECE near this floor says nothing against a
    model.

    Args:
        probs: (N, K) probabilities.
        labels: (N,), checked and then not used.
        bins: of equal width, right-closed.
        draws: how often labels are drawn.
        seed: of the draws.

    Returns:
        A float in [0, 1].
    """
    confidence, _ = top1(probs, labels)
    inside = _inside(confidence, bins)  # (N, bins)
    generator = torch.Generator(confidence.device).manual_seed(seed)
    found = []
    for _ in range(draws):  # one at a time: (draws, N) would be 16 MB for 10,000 images
        chance = torch.rand(
            len(confidence), generator=generator, dtype=torch.float64, device=confidence.device
        )
        gaps = ((chance < confidence).double() - confidence) @ inside
        found.append(gaps.abs().sum() / len(confidence))
    return float(torch.stack(found).mean())


def debiased_ece(probs: Arrays, labels: Arrays, bins: int = BINS) -> float:
    """ECE less an estimate of its bias (arXiv 1909.10155); may lie a little below 0.

    With d_b = accuracy - confidence of bin b and σ_b² = accuracy (1 - accuracy) / n_b, the bias of
    |d_b| is taken to be E|X| - |d_b| for X ~ N(d_b, σ_b²), as in the code published with the
    paper, which draws X where this is the closed form of the folded normal. Where all d_b are 0
    it takes away about two fifths of it, far from 0 nothing.
    """
    confidence, hit = top1(probs, labels)
    inside = _inside(confidence, bins)
    counts = inside.sum(0)
    n = counts.clamp(min=1)
    rate, gap = hit @ inside / n, (hit - confidence) @ inside / n  # (bins,)
    sigma = (rate * (1 - rate) / n).sqrt()
    scaled = gap.abs() / (sigma * math.sqrt(2)).clamp(min=torch.finfo(sigma.dtype).tiny)
    expected = sigma * math.sqrt(2 / math.pi) * (-(scaled**2)).exp() + gap.abs() * scaled.erf()
    return float((counts * (2 * gap.abs() - expected)).sum() / counts.sum())


def smooth_ece(probs: Arrays, labels: Arrays) -> float:
    """Smooth ECE (arXiv 2309.12236): consistent, continuous, and without bins; in [0, 1].

    smECE_σ is the integral over t in [0, 1] of |mean of K_σ(t, f_i) (y_i - f_i)|, K_σ being a
    Gaussian kernel reflected at 0 and 1, f_i the confidences and y_i the hits. It falls with σ;
    smooth ECE is the σ at which smECE_σ = σ.
    """
    from scipy.fft import dct, idct  # noqa: PLC0415 - not needed to serve

    confidence, hit = top1(probs, labels)
    cells = (confidence * GRID).long().clamp(max=GRID - 1)
    residual = torch.bincount(cells, weights=hit - confidence, minlength=GRID) / len(hit)
    # a reflected Gaussian is diagonal in the cosines of [0, 1]
    waves = dct(residual.cpu().numpy(), norm="ortho")
    frequency = np.pi * np.arange(GRID)

    def at(sigma: float) -> float:
        smoothed = idct(waves * np.exp(-((frequency * sigma) ** 2) / 2), norm="ortho")
        return float(np.abs(smoothed).sum())

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) > middle else (low, middle)
    return (low + high) / 2


def _inside(confidence: Tensor, bins: int) -> Tensor:
    """(N, bins) float64, 1 where an image lies in a bin."""
    index = bin_index(confidence, bin_edges(bins, confidence.device)[1:-1])
    return torch.nn.functional.one_hot(index, bins).double()


FAIR: dict[str, Callable[[Arrays, Arrays], float]] = {
    "ece_floor": ece_floor,
    "ece_debiased": debiased_ece,
    "ece_smooth": smooth_ece,
}


def figures(probs: Arrays, labels: Arrays) -> dict[str, float]:
    """All of `FAIR` of probabilities (N, K) and labels (N,)."""
    return {name: metric(probs, labels) for name, metric in FAIR.items()}
