"""ROAD: what is filled in against the grad-cam library's solver, and maps that are known."""

from __future__ import annotations

import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor, nn

from nls_core.errors import InvalidInput
from nls_core.evidence import map_road
from nls_core.evidence.map_road import filled, road


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # the library's
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("size", [(9, 13), (28, 28), (37, 40)])
def test_what_is_filled_in_is_the_librarys(size: tuple[int, int], share: float) -> None:
    x, kept = drawn(3, 2, *size), drawn(3, *size, seed=1) >= share
    library = NoisyLinearImputer(noise=0)
    wanted = torch.stack([library(a, b.float()) for a, b in zip(x, kept, strict=True)])
    got = filled(x, kept)
    assert float((got - wanted).abs().max()) < 0.004
    places = kept[:, None].expand_as(x)
    assert torch.equal(got[places], x[places])


def test_a_far_corner_takes_the_colour_of_what_is_there() -> None:
    kept = torch.zeros(1, 64, 64, dtype=torch.bool)
    kept[:, :3] = True
    x = torch.full((1, 1, 64, 64), 0.7)
    x[:, :, 3:] = 0.1
    assert torch.allclose(filled(x, kept), torch.full((1, 1, 64, 64), 0.7), atol=0.004)


def test_all_kept_is_the_image_itself() -> None:
    x = drawn(2, 3, 20, 20)
    assert torch.equal(filled(x, torch.ones(2, 20, 20, dtype=torch.bool)), x)


class Bright(nn.Module):
    """Logits (10 · mean of the upper half, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        score = 10 * x[:, :, : x.shape[2] // 2].mean((1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], 1)


def test_a_map_on_what_counts_is_better_than_chance_and_its_opposite_worse() -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[:, :, 2:5, 3:9] = 1.0  # all that the model goes by
    y = torch.zeros(1, dtype=torch.long)
    right = x[:, 0]
    uniform = torch.ones(1, 16, 16)
    scores = [float(road(Bright(), x, y, maps)) for maps in (right, uniform, 1 - right)]
    assert scores[0] > 0.02
    assert scores[0] > scores[1] > scores[2]
    assert scores[2] < -0.02
    assert all(-0.5 <= score <= 0.5 for score in scores)


def test_the_score_is_half_the_gap_of_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_road, "SHARES", (0.25,))
    monkeypatch.setattr(map_road, "NOISE", 0.0)
    x, maps = drawn(2, 1, 8, 8), drawn(2, 8, 8, seed=2)
    y = torch.tensor([0, 1])
    order = maps.flatten(1).argsort(1, descending=True)
    confidences = []
    for gone in (order[:, :16], order[:, -16:]):
        kept = torch.ones(2, 64, dtype=torch.bool).scatter(1, gone, value=False).view(2, 8, 8)
        probs = Bright()(filled(x, kept).clamp(0, 1)).double().softmax(1)
        confidences.append(probs[torch.arange(2), y])
    wanted = (confidences[1] - confidences[0]) / 2
    assert road(Bright(), x, y, maps).tolist() == pytest.approx(wanted.tolist(), abs=1e-6)


def test_noise_is_the_same_for_all_images_and_by_the_seed() -> None:
    x, maps, y = drawn(3, 1, 8, 8), drawn(3, 8, 8, seed=2), torch.zeros(3, dtype=torch.long)
    whole = road(Bright(), x, y, maps, seed=1)
    part = road(Bright(), x[1:], y[1:], maps[1:], seed=1)
    assert torch.allclose(whole[1:], part, atol=1e-4)
    assert not torch.allclose(whole, road(Bright(), x, y, maps, seed=2), atol=1e-6)


def test_what_road_refuses() -> None:
    x, y = drawn(2, 1, 8, 8), torch.zeros(2, dtype=torch.long)
    with pytest.raises(InvalidInput, match="expected x"):
        road(Bright(), x, y, drawn(3, 4, 4))
    with pytest.raises(InvalidInput, match="expected finite maps"):
        road(Bright(), x, y, -drawn(2, 4, 4))
