"""Common corruptions for small images, five severities each, after Hendrycks & Dietterich 2019
(arXiv 1903.12261); the strengths are chosen for 28 to 32 pixels."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nls_core.errors import InvalidInput, choose

SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[Tensor, int, torch.Generator], Tensor]  # (N, C, H, W) in [0, 1] -> same


def noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of standard deviation 0.04 to 0.2."""
    drawn = torch.randn(x.shape, generator=generator).to(x)
    return x + drawn * (0.04, 0.08, 0.12, 0.16, 0.20)[severity - 1]


def blur(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Gaussian blur with a standard deviation of 0.4 to 1.6 pixels."""
    from torchvision.transforms.v2.functional import gaussian_blur  # noqa: PLC0415 - 160 MB

    sigma = (0.4, 0.7, 1.0, 1.3, 1.6)[severity - 1]
    blurred: Tensor = gaussian_blur(x, [7, 7], [sigma, sigma])
    return blurred


def contrast(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Pull pixels towards the image's mean: 75 % to 15 % of the contrast is left."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (0.75, 0.6, 0.45, 0.3, 0.15)[severity - 1] + mean


def brightness(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Add 0.1 to 0.5."""
    return x + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]


def jpeg(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Encode and decode as JPEG of quality 60 to 8."""
    quality = (60, 40, 25, 15, 8)[severity - 1]
    pixels = (x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # NHWC
    decoded = [_through_jpeg(image, quality) for image in pixels]
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(x) / 255


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    grey = image.shape[2] == 1
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if grey else image).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer))
    return decoded[..., None] if grey else decoded


def pixelate(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Reduce to 75 % to 18 % of the size by area, and enlarge by nearest neighbour."""
    share = (0.75, 0.5, 0.36, 0.25, 0.18)[severity - 1]
    small = [max(round(edge * share), 1) for edge in x.shape[-2:]]
    return F.interpolate(F.interpolate(x, small, mode="area"), x.shape[-2:], mode="nearest-exact")


CORRUPTIONS: dict[str, Corruption] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "brightness": brightness,
    "jpeg": jpeg,
    "pixelate": pixelate,
}


def corrupt(images: Tensor, name: str, severity: int, *, seed: int = 0) -> Tensor:
    """Corrupt images; the result is uint8 too, stored as clean ones are.

    Args:
        images: (N, C, H, W) uint8.
        name: a key of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: fixes the noise.

    Raises:
        UnknownName, InvalidInput: a bad name, severity or dtype.
    """
    apply = choose("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise InvalidInput(f"severity must be one of {SEVERITIES}; got {severity!r}")
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise InvalidInput(
            f"images must be (N, C, H, W) uint8; got {tuple(images.shape)} of {images.dtype}"
        )
    generator = torch.Generator().manual_seed(seed)
    changed = apply(images.float() / 255, severity, generator)
    return (changed.clamp(0, 1) * 255).round().byte()
