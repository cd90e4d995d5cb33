"""Corruptions: closed forms, ordering by severity, determinism."""

from __future__ import annotations

import pytest
import torch

from nls_core.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from nls_core.errors import InvalidInput


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """(8, 1, 28, 28) smooth seeded images with texture."""
    coarse = torch.rand(8, 1, 7, 7, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(coarse, (28, 28), mode="bicubic").clamp(0, 1)
    fine = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    return ((0.8 * smooth + 0.2 * fine) * 255).byte()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_moves_images_further(images: torch.Tensor, name: str) -> None:
    moved = [
        float((corrupt(images, name, s).float() - images.float()).pow(2).mean()) for s in SEVERITIES
    ]
    assert moved == sorted(moved)
    assert moved[0] > 0


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_dtype_and_input_stay(images: torch.Tensor, name: str, channels: int) -> None:
    given = images.expand(-1, channels, -1, -1).contiguous()
    before = given.clone()
    got = corrupt(given, name, 3)
    assert got.shape == given.shape
    assert got.dtype == torch.uint8
    assert torch.equal(given, before)
    assert torch.equal(got, corrupt(given, name, 3))


def test_noise_has_the_stated_deviation_and_follows_the_seed() -> None:
    grey = torch.full((50, 1, 28, 28), 128, dtype=torch.uint8)
    noisy = corrupt(grey, "noise", 2, seed=1)
    assert float(noisy.float().std()) / 255 == pytest.approx(0.08, rel=0.03)
    assert not torch.equal(noisy, corrupt(grey, "noise", 2, seed=2))


def test_brightness_and_contrast_by_hand() -> None:
    x = torch.tensor([[[[0, 100], [100, 200]]]], dtype=torch.uint8)
    assert corrupt(x, "brightness", 1).flatten().tolist() == [26, 126, 126, 226]
    assert corrupt(x, "contrast", 4).flatten().tolist() == [70, 100, 100, 130]


def test_blur_keeps_the_mean_of_a_dot_inside() -> None:
    dot = torch.zeros(1, 1, 15, 15, dtype=torch.uint8)
    dot[0, 0, 7, 7] = 255
    blurred = corrupt(dot, "blur", 3)
    assert int(blurred.max()) < 60
    assert float(blurred.float().sum()) == pytest.approx(255, rel=0.05)


def test_pixelate_makes_blocks() -> None:
    ramp = torch.arange(28, dtype=torch.uint8).mul(9).expand(1, 1, 28, 28).contiguous()
    assert len(corrupt(ramp, "pixelate", 2)[0, 0, 0].unique()) == 14


def test_refusals() -> None:
    x = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(InvalidInput, match="unknown corruption 'fog'"):
        corrupt(x, "fog", 1)
    with pytest.raises(InvalidInput, match="severity"):
        corrupt(x, "noise", 6)
    with pytest.raises(InvalidInput, match="uint8"):
        corrupt(x.float(), "noise", 1)
