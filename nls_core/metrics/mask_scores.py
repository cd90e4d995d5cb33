"""How well activation maps lie on the objects that they should explain, where masks are known.

Maps are (N, h, w) at the layer's own resolution, finite and ≥ 0, in any unit: no score changes with
a map's scale. Masks are (N, H, W) bool, true on the object, with at least one such pixel each.
Scores upsample the maps to the masks' size, bilinearly, and are per image.

A high score alone says little, since photographers put objects in the middle. So each stands beside
three controls: a map without focus (uniform: it gets `area`), one that knows only the middle
(`centre_prior`), and a random one. A map that is zero everywhere says nothing of a place and is
scored as a uniform one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nls_core.errors import InvalidInput
from nls_core.metrics.map_similarity import to_pixels

THRESHOLDS = 20  # of `best_iou`: 0, 0.05, … 0.95 of the map's maximum
SIGMA = 0.25  # of the centre prior, in edges
_TIE = 1e-9  # relative; upsampling rounds
_PIXELS = 2**22  # of a batch: 83 maps of 224 x 224


def pointing_game(maps: Tensor, masks: Tensor) -> Tensor:
    """Does the map's maximum lie on the object? (Zhang et al. 2016, arXiv 1608.00507.)

    Unlike there, no 15 pixels of tolerance around the object are given. Tie rule: of several
    pixels that share the maximum, the score is the share inside the mask, that is, what drawing
    one of them at random gives on average.

    Args:
        maps: (N, h, w), finite and ≥ 0.
        masks: (N, H, W) bool, none empty.

    Returns:
        (N,) float64 in [0, 1], mostly 0 or 1; the mask's area share for a constant map.

    Raises:
        InvalidInput: maps or masks are not as above.
    """
    return _each(_pointing, maps, masks)


def energy_inside(maps: Tensor, masks: Tensor) -> Tensor:
    """The share of the map's sum that lies on the object.

    The energy-based pointing game of Score-CAM (Wang et al. 2019, arXiv 1910.01279), with a mask
    in place of a box.

    Arguments and errors as `pointing_game`.

    Returns:
        (N,) float64 in [0, 1]; the mask's area share for a constant map, zero ones included.
    """
    return _each(_energy, maps, masks)


def best_iou(maps: Tensor, masks: Tensor) -> Tensor:
    """Intersection over union of the object and the map's salient region, at the best threshold.

    The region is where the map is at least t times its maximum; t is the best for this image of
    0, 0.05, … 0.95. So it asks whether some threshold cuts the object out; the highest value,
    and at least the mask's area share, which t = 0 gives.

    Arguments and errors as `pointing_game`.

    Returns:
        (N,) float64 in (0, 1]; the mask's area share for a constant map, zero ones included.
    """
    return _each(_iou, maps, masks)


Score = Callable[[Tensor, Tensor], Tensor]
SCORES: dict[str, Score] = {
    "pointing_game": pointing_game,
    "energy_inside": energy_inside,
    "best_iou": best_iou,
}


def area(masks: Tensor) -> Tensor:
    """(N,) float64 in (0, 1]: the mask's share of the image, which a uniform map gets as a score.

    Raises:
        InvalidInput: the masks are not (N, H, W) bool, or one is empty.
    """
    _check_masks(masks)
    return masks.double().mean((1, 2))


def centre_prior(count: int, height: int, width: int) -> Tensor:
    """(count, height, width) float64: a Gaussian around the middle, σ a quarter of each edge."""
    rows, columns = (
        torch.exp(-(((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5) ** 2) / (2 * SIGMA**2))
        for n in (height, width)
    )
    return (rows[:, None] * columns).expand(count, -1, -1)


def random_maps(count: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """(count, height, width) float64, each cell uniform in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, dtype=torch.float64, generator=generator)


def measure(maps: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """All of `SCORES`: name -> (N,) float64 on the CPU. Arguments and errors as `pointing_game`."""
    return {name: score(maps, masks).cpu() for name, score in SCORES.items()}


def controls(masks: Tensor, height: int, width: int, *, seed: int = 0) -> dict[str, Tensor]:
    """What maps that know nothing of the images get, at a resolution of (height, width).

    They depend on the masks alone: compute them once for all methods.

    Args:
        masks: (N, H, W) bool, none empty.
        height, width: of the maps that stand beside them.
        seed: of the random maps.

    Returns:
        Name -> (N,) float64 on the CPU: each key of `SCORES` with '_centre' and '_random', for the
        two kinds of maps, and 'area', what a uniform one gets.

    Raises:
        InvalidInput: masks are not as above.
    """
    kinds = {
        "centre": centre_prior(len(masks), height, width).to(masks.device),
        "random": random_maps(len(masks), height, width, seed=seed).to(masks.device),
    }
    found = {
        f"{name}_{kind}": values
        for kind, maps in kinds.items()
        for name, values in measure(maps, masks).items()
    }
    return found | {"area": area(masks).cpu()}


def _each(score: Score, maps: Tensor, masks: Tensor) -> Tensor:
    """A score of checked maps, in batches that bound the memory of the upsampled ones."""
    _check(maps, masks)
    size = max(_PIXELS // masks[0].numel(), 1)
    parts = zip(torch.split(maps, size), torch.split(masks, size), strict=True)
    return torch.cat([score(to_pixels(m, *masks.shape[1:]), inside) for m, inside in parts])


def _pointing(pixels: Tensor, masks: Tensor) -> Tensor:
    top = pixels.amax((1, 2), keepdim=True)
    return _share(pixels >= top * (1 - _TIE), masks)


def _energy(pixels: Tensor, masks: Tensor) -> Tensor:
    blank = pixels.amax((1, 2), keepdim=True) == 0
    return _share(torch.where(blank, 1.0, pixels), masks)


def _share(weights: Tensor, masks: Tensor) -> Tensor:
    """Which share of the weights (N, H, W), of a sum above 0, lies inside the masks."""
    weights = weights.double()
    top = weights.amax((1, 2), keepdim=True)  # first, so that no sum overflows
    weights = weights / top
    # a sum of a part may round above that of the whole
    return ((weights * masks).sum((1, 2)) / weights.sum((1, 2))).clamp(max=1.0)


def _iou(pixels: Tensor, masks: Tensor) -> Tensor:
    top = pixels.amax((1, 2), keepdim=True)
    best = torch.zeros(len(pixels), dtype=torch.float64, device=pixels.device)
    for step in range(THRESHOLDS):
        region = pixels >= top * (step / THRESHOLDS)
        both, either = ((region & masks).sum((1, 2)), (region | masks).sum((1, 2)))
        best = torch.maximum(best, both.double() / either)
    return best


def _check(maps: Tensor, masks: Tensor) -> None:
    _check_masks(masks)
    if maps.ndim != 3 or len(maps) != len(masks):
        raise InvalidInput(
            "expected as many maps (N, h, w) as masks (N, H, W); "
            f"got {tuple(maps.shape)} and {tuple(masks.shape)}"
        )


def _check_masks(masks: Tensor) -> None:
    if masks.ndim != 3 or not masks.numel() or masks.dtype != torch.bool:
        raise InvalidInput(
            f"expected masks (N, H, W) bool, not empty; got {tuple(masks.shape)} {masks.dtype}"
        )
    empty = (~masks.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise InvalidInput(f"expected masks with an object in each; got none in {empty[:10]}")
