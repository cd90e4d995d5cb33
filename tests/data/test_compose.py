"""Composites: repeatable, true to their masks, and varied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from nls_core.data import compose
from nls_core.errors import InvalidInput

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def disc(edge: int = 100, colour: str = "magenta") -> Image.Image:
    image = Image.new("RGBA", (edge, edge))
    ImageDraw.Draw(image).ellipse((0, 0, edge - 1, edge - 1), fill=colour)
    return image


def test_one_seed_one_picture() -> None:
    first, again = (compose.render(disc(), 5, 64, [PHOTO]) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], compose.render(disc(), 6, 64, [PHOTO])[0])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    size=st.integers(8, 70),
    shape=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    photo=st.booleans(),
)
def test_shapes_and_types_of_any_size(
    seed: int, size: int, shape: tuple[int, int], photo: bool
) -> None:
    cutout = Image.new("RGBA", shape, "red")
    image, mask = compose.render(cutout, seed, size, [PHOTO] if photo else [])
    assert image.shape == (3, size, size)
    assert image.dtype == torch.uint8
    assert mask.shape == (size, size)
    assert mask.dtype == torch.bool
    assert mask.any()


def test_the_mask_is_where_the_object_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "NOISE", 0.0)
    monkeypatch.setattr(compose, "JITTER", {})
    grey = {"grey": lambda rng, size: np.full((size, size, 3), 128.0)}
    monkeypatch.setattr(compose, "BACKGROUNDS", grey)
    for seed in range(20):
        image, mask = compose.render(disc(), seed, 96)
        shown = image.permute(1, 2, 0)
        inside = (shown == torch.tensor([255, 0, 255])).all(2)
        outside = (shown == 128).all(2)
        assert not (inside & ~mask).any()
        assert not (outside & mask).any()
        assert (inside | outside).float().mean() > 0.9  # the rest is the edge


def test_the_object_lies_inside_at_the_stated_scales() -> None:
    edges, centres = [], []
    for seed in range(60):
        mask = compose.render(disc(), seed, 100)[1]
        rows, columns = (torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0))
        edges.append(int(columns[-1] - columns[0]) + 1)
        centres.append(float(columns.float().mean()))
        area = float(mask.float().mean())
        assert area == pytest.approx(np.pi / 4 * (edges[-1] / 100) ** 2, rel=0.08)  # nothing cut
        assert abs(len(rows) - len(columns)) <= 2
    low, high = (100 * scale for scale in compose.SCALES)
    assert low - 2 <= min(edges) <= low + 8
    assert high - 8 <= max(edges) <= high + 2
    assert max(centres) - min(centres) > 30


def test_photos_are_half_of_the_backgrounds_where_there_are_some() -> None:
    white = np.full((50, 50, 3), 255, np.uint8)
    dot = Image.new("RGBA", (1, 50), "black")
    plain = [compose.render(dot, seed, 32)[0] for seed in range(200)]
    mixed = [compose.render(dot, seed, 32, [white])[0] for seed in range(200)]
    bright = [sum(float(x.float().median()) > 170 for x in pictures) for pictures in (plain, mixed)]
    assert bright[1] - bright[0] > 40


@pytest.mark.parametrize("name", compose.BACKGROUNDS)
def test_every_background_is_a_picture(name: str) -> None:
    rng = np.random.default_rng(3)
    pixels = compose.BACKGROUNDS[name](rng, 40)
    assert pixels.shape == (40, 40, 3)
    assert np.isfinite(pixels).all()
    again = compose.BACKGROUNDS[name](np.random.default_rng(3), 40)
    np.testing.assert_array_equal(pixels, again)
    assert (np.ptp(pixels, axis=(0, 1)).max() < 1e-9) == (name == "solid")


def test_a_faint_object_still_has_a_mask() -> None:
    assert compose.render(Image.new("RGBA", (9, 9), (0, 0, 0, 40)), 0, 32)[1].any()


@pytest.mark.parametrize(
    ("cutout", "size"),
    [
        (Image.new("RGB", (9, 9)), 32),
        (Image.new("RGBA", (9, 9)), 32),
        (Image.new("RGBA", (9, 9), "red"), 7),
    ],
)
def test_what_cannot_be_rendered_is_refused(cutout: Image.Image, size: int) -> None:
    with pytest.raises(InvalidInput, match="expected an RGBA cut-out"):
        compose.render(cutout, 0, size)
