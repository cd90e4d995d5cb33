"""Scores of maps on masks against closed forms, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.metrics import mask_scores
from nls_core.metrics.mask_scores import (
    SCORES,
    area,
    best_iou,
    controls,
    energy_inside,
    measure,
    pointing_game,
)

# few levels, so that cells are often equal, and zero maps occur
MAPS = hnp.arrays(np.float32, (3, 4, 5), elements=st.sampled_from([0, 0.25, 0.5, 1, 7]))
MASKS = hnp.arrays(np.bool_, (3, 8, 10)).filter(lambda m: m.any((1, 2)).all())


def left_half(height: int = 4, width: int = 4) -> Tensor:
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[..., : width // 2] = True
    return mask


def test_closed_forms_without_upsampling() -> None:
    maps = torch.tensor([[[3.0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]])
    assert pointing_game(maps, left_half()).item() == 1
    assert pointing_game(maps.flip(2), left_half()).item() == 0
    assert energy_inside(maps, left_half()).item() == 0.75
    assert energy_inside(maps.flip(2), left_half()).item() == 0.25
    # t = 0 takes all (1/2), small t both cells (1 of 9), large t the brighter one (1 of 8)
    assert best_iou(maps, left_half()).item() == 0.5
    assert best_iou(left_half().double(), left_half()).item() == 1


def test_the_best_threshold_is_found() -> None:
    steps = torch.tensor([[[8.0, 6, 4, 2]]])  # the left half is what is at least 0.5 of 8
    mask = torch.tensor([[[True, True, True, False]]])
    assert best_iou(steps, mask).item() == 1
    assert best_iou(steps, ~mask).item() == 0.25  # only t = 0 reaches it


def test_maps_are_upsampled_to_the_masks() -> None:
    maps = torch.tensor([[[0.0, 1]]])  # bilinear, 4 wide: 0, 1/4, 3/4, 1
    assert energy_inside(maps, left_half(2)).item() == pytest.approx(0.125)
    assert pointing_game(maps, ~left_half(2)).item() == 1


def test_ties_count_by_the_share_inside() -> None:
    maps = torch.tensor([[[1.0, 1, 0, 1]]])
    assert pointing_game(maps, left_half(1)).item() == pytest.approx(2 / 3)
    assert pointing_game(torch.full((1, 7, 7), 0.1), left_half(224, 224)).item() == 0.5


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("value", [0.0, 0.1, 3e38])
def test_a_constant_map_gets_the_area(name: str, value: float) -> None:
    masks = torch.zeros(2, 12, 12, dtype=torch.bool)
    masks[0, :3], masks[1, 2, 5] = True, True
    got = SCORES[name](torch.full((2, 3, 3), value), masks)
    torch.testing.assert_close(got, area(masks))
    assert area(masks).tolist() == [0.25, 1 / 144]


@pytest.mark.parametrize("name", SCORES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_invariants(name: str, data: st.DataObject) -> None:
    score = SCORES[name]
    maps, masks = (torch.from_numpy(data.draw(part)) for part in (MAPS, MASKS))
    scale = data.draw(st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**30]))
    order = data.draw(st.permutations(range(3)))
    got = score(maps, masks)
    assert got.shape == (3,)
    assert got.dtype == torch.float64
    assert bool(((got >= 0) & (got <= 1)).all())
    assert torch.equal(score(scale * maps, masks), got)
    assert torch.equal(score(maps[order], masks[order]), got[order])
    torch.testing.assert_close(score(maps.flip(2), masks.flip(2)), got)  # a mirror sees the same
    assert torch.equal(score(maps, torch.ones_like(masks)), torch.ones(3, dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(MAPS, MASKS)
def test_inside_and_outside_share_the_whole(maps: np.ndarray, masks: np.ndarray) -> None:
    if (~masks).any((1, 2)).all():
        pair = torch.from_numpy(maps), torch.from_numpy(masks)
        for score in (energy_inside, pointing_game):
            both = score(*pair) + score(pair[0], ~pair[1])
            torch.testing.assert_close(both, torch.ones(3, dtype=torch.float64))


def test_batches_do_not_change_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(7, 4, 4, generator=generator)
    masks = torch.rand(7, 16, 16, generator=generator) < 0.3
    whole = measure(maps, masks)
    monkeypatch.setattr(mask_scores, "_PIXELS", 600)
    for name, values in measure(maps, masks).items():
        assert torch.equal(values, whole[name]), name


def test_controls_know_the_middle_or_nothing() -> None:
    masks = torch.zeros(200, 28, 28, dtype=torch.bool)
    masks[:, 10:18, 10:18] = True
    found = controls(masks, 7, 7)
    assert set(found) == {f"{n}_{c}" for n in SCORES for c in ("centre", "random")} | {"area"}
    centre = measure(mask_scores.centre_prior(200, 7, 7), masks)
    assert set(centre) == set(SCORES)
    for name in SCORES:
        assert torch.equal(centre[name], found[f"{name}_centre"])
    assert found["pointing_game_centre"].eq(1).all()
    assert found["energy_inside_centre"][0] > 1.5 * found["area"][0]
    # without knowledge of the place, the mean energy is the area
    assert found["energy_inside_random"].mean().item() == pytest.approx(64 / 784, rel=0.05)
    again = mask_scores.random_maps(200, 7, 7), mask_scores.random_maps(200, 7, 7, seed=1)
    assert torch.equal(again[0], mask_scores.random_maps(200, 7, 7))
    assert not torch.equal(*again)


def test_the_centre_prior_is_a_gaussian() -> None:
    prior = mask_scores.centre_prior(2, 5, 3)
    assert prior.shape == (2, 5, 3)
    torch.testing.assert_close(prior, prior.flip(1, 2))
    assert prior[0, 2, 1] == prior.max() == 1
    assert (prior[0, 0, 1] / prior[0, 2, 1]).item() == pytest.approx(np.exp(-(0.4**2) / (2 / 16)))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("maps", "masks", "what"),
    [
        (torch.ones(2, 3, 3), torch.ones(3, 6, 6, dtype=torch.bool), "as many maps"),
        (torch.ones(3, 3), torch.ones(1, 6, 6, dtype=torch.bool), "as many maps"),
        (torch.ones(1, 3, 3), torch.ones(1, 6, 6), "bool"),
        (torch.ones(1, 3, 3), torch.ones(6, 6, dtype=torch.bool), "bool"),
        (torch.ones(0, 3, 3), torch.ones(0, 6, 6, dtype=torch.bool), "not empty"),
        (torch.ones(1, 3, 3), torch.zeros(1, 6, 6, dtype=torch.bool), "an object in each"),
        (-torch.ones(1, 3, 3), torch.ones(1, 6, 6, dtype=torch.bool), "finite maps"),
        (torch.full((1, 3, 3), torch.nan), torch.ones(1, 6, 6, dtype=torch.bool), "finite maps"),
    ],
)
def test_bad_input_is_refused(name: str, maps: Tensor, masks: Tensor, what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        SCORES[name](maps, masks)
