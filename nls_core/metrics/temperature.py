"""One temperature for all logits: fitted where it was not tested (Guo et al. 2017, 1706.04599)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.metrics.calibration import Arrays, check_labels, check_scores

TEMPERATURES = (0.01, 100.0)  # the range that `fit_temperature` searches


def fit_temperature(logits: Arrays, labels: Arrays) -> float:
    """The temperature in [0.01, 100] that minimizes the NLL (arXiv 1706.04599).

    The NLL is convex in 1/T, so bisection on the sign of its derivative finds the minimum
    without a step size. The end of the range is returned where the NLL falls all the way to it:
    0.01 when every row is right, 100 when sharpness only hurts. Constant rows, where T changes
    nothing, give 1.

    Args:
        logits: (N, K) of any float dtype; computed in float64.
        labels: (N,) integer labels in [0, K); a validation split, never the test set.

    Raises:
        InvalidInput: an argument is not as above.
    """
    z = check_scores(logits, "logits").double()
    y = check_labels(labels, z)
    z = z - z.amax(1, keepdim=True)
    if not bool(z.any()):
        return 1.0
    picked = z.gather(1, y[:, None])[:, 0]
    low, high = (math.log(t) for t in TEMPERATURES)
    for _ in range(45):  # log T to within 1e-12
        middle = (low + high) / 2
        expected = (torch.softmax(z * math.exp(-middle), dim=1) * z).sum(1)
        if float((expected - picked).mean()) > 0:  # d NLL / d(1/T): too sharp
            low = middle
        else:
            high = middle
    return min(max(math.exp((low + high) / 2), TEMPERATURES[0]), TEMPERATURES[1])


def with_temperature(logits: Arrays, temperature: float) -> Tensor:
    """softmax(logits / T): (N, K) probabilities, in float32 (float64 stays float64).

    Raises:
        InvalidInput: logits are not finite (N, K), or T is not a positive finite number.
    """
    z = check_scores(logits, "logits")
    if not (math.isfinite(temperature) and temperature > 0):
        raise InvalidInput(f"temperature must be positive and finite; got {temperature!r}")
    z = z if z.dtype == torch.float64 else z.float()
    return torch.softmax((z - z.amax(1, keepdim=True)) / temperature, dim=1)
