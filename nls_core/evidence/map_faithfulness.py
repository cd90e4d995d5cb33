"""Do activation maps show what the model uses? Insertion, deletion, and the image times its map.

Confidence is the softmax probability of the explained class, without temperature: a model that is
less confident on the whole image has lower areas under its curves too, whatever its maps are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, float64, nn

from nls_core.attacks.threat import check_count
from nls_core.errors import InvalidInput
from nls_core.metrics.map_similarity import places, to_pixels
from nls_core.nets import Classifier, frozen


def check_batch(x: Tensor, y: Tensor, other: Tensor) -> None:
    """Raise InvalidInput unless x is (B, C, H, W), y (B,), and `other` has B entries."""
    if x.ndim != 4 or not x.numel() or not y.shape == other.shape[:1] == x.shape[:1]:
        raise InvalidInput(
            "expected x (B, C, H, W), not empty, y (B,) and as many maps or adversarial images; "
            f"got {tuple(x.shape)}, {tuple(y.shape)} and {tuple(other.shape)}"
        )


@torch.no_grad()
def confidence(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(B,) float64: the softmax probability of class y (B,) for x (B, C, H, W)."""
    with frozen(model):
        probs: Tensor = model(x).double().softmax(1)
    return probs.gather(1, y[:, None].long())[:, 0]


def confidence_curve(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    maps: Tensor,
    *,
    insert: bool,
    steps: int = 28,
    baseline: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Confidence as the most salient pixels are inserted or deleted (RISE, arXiv 1806.07421).

    Equally salient pixels go in reading order. A pixel goes with all its channels.

    Args:
        model: from x to logits (B, K).
        x: (B, C, H, W) in [0, 1]; all at once in a forward.
        y: (B,) explained classes.
        maps: (B, h, w), finite and ≥ 0.
        insert: put pixels of x into the baseline; else the baseline's into x.
        steps: equal ones, to a pixel.
        baseline: of a shape that broadcasts to x. None is the model's per-channel mean, where its
            normalized input is 0, or without a `Classifier` the image's own. That is what RISE's
            authors delete with. They insert into a blurred image, but their blur in proportion
            to 28 pixels leaves fashion/ce-zero a confidence of 0.92, and the mean 0.07.

    Returns:
        The share of changed pixels, (steps + 1,) from 0 to 1, and the confidence in [0, 1],
        (B, steps + 1), both float64.

    Raises:
        InvalidInput: maps or steps are not as above.
    """
    check_count("steps", steps)
    check_batch(x, y, maps)
    mean = model.mean if isinstance(model, Classifier) else x.mean((2, 3), keepdim=True)
    fill = mean if baseline is None else baseline
    height, width = x.shape[2:]
    place = places(to_pixels(maps, height, width).flatten(1)).view(-1, 1, height, width)
    counts = [step * height * width // steps for step in range(steps + 1)]
    values = [
        confidence(model, torch.where((place < count) == insert, x, fill), y) for count in counts
    ]
    shares = torch.tensor(counts, dtype=float64, device=x.device) / (height * width)
    return shares, torch.stack(values, 1)


def insertion_auc(model: nn.Module, x: Tensor, y: Tensor, maps: Tensor, **options: Any) -> Tensor:
    """(B,) float64 in [0, 1]: the trapezoidal area under the insertion curve; higher is better.

    Arguments, options and errors as `confidence_curve` (RISE, arXiv 1806.07421).
    """
    shares, values = confidence_curve(model, x, y, maps, insert=True, **options)
    return torch.trapezoid(values, shares, dim=1)


def deletion_auc(model: nn.Module, x: Tensor, y: Tensor, maps: Tensor, **options: Any) -> Tensor:
    """(B,) float64 in [0, 1]: as `insertion_auc`, of the deletion curve; lower is better."""
    shares, values = confidence_curve(model, x, y, maps, insert=False, **options)
    return torch.trapezoid(values, shares, dim=1)


def drop_and_increase(
    model: nn.Module, x: Tensor, y: Tensor, maps: Tensor
) -> tuple[Tensor, Tensor]:
    """What is left of the confidence p when the image is multiplied by its map.

    From Grad-CAM++ (Chattopadhay et al. 2017, arXiv 1710.11063), the map divided by its maximum
    as its authors do: the factor is in [0, 1], a zero map gives a black image.

    Arguments and errors as `confidence_curve`.

    Returns:
        (B,) float64 in [0, 1], max(0, p - p_masked) / p; and (B,) bool, p_masked > p. Their means
        are the average drop (lower is better) and the rate of increase (higher is better).
    """
    check_batch(x, y, maps)
    salience = to_pixels(maps, x.shape[2], x.shape[3])
    top = salience.amax((1, 2), keepdim=True)
    factor = torch.where(top > 0, salience / top, 0.0).to(x.dtype)
    whole = confidence(model, x, y)
    masked = confidence(model, x * factor[:, None], y)
    lost = (whole - masked).clamp_min(0)  # 0 where p is 0
    return lost / whole.clamp_min(torch.finfo(whole.dtype).tiny), masked > whole
