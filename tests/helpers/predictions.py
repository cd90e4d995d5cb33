"""Made-up answers of a model, and labels that fit them."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(
    rows: int = 600, classes: int = 5, seed: int = 0, scale: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Random logits (N, K), float64, and labels drawn from softmax(logits)."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale
    return z, torch.multinomial(z.softmax(1), 1, generator=generator)[:, 0]
