"""Quality of class activation maps: do they show what the model uses, and do they hold still?

Faithfulness (see `map_faithfulness`), stability under noise and under attack, and the
weight-randomization check. All is per image, so that models can be compared in pairs.

Measures about pixels (insertion, deletion, ROAD, drop, overlap) upsample the maps bilinearly; those
that compare two maps as a whole (cosine, sensitivity, ranks) take the cells as they are.

A map that is nearly uniform is stable whatever it shows, and a random one has an insertion area
too. So stability is told of maps less their means as well, and what rests on an order of pixels
beside what a map of random cells gets on the same model and image: `NET` of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, float64, nn

from nls_core.attacks.threat import check_count, uniform
from nls_core.cams import activation_maps, border_mass
from nls_core.errors import InvalidInput
from nls_core.evidence.map_faithfulness import (
    check_batch,
    deletion_auc,
    drop_and_increase,
    insertion_auc,
)
from nls_core.evidence.map_road import road
from nls_core.metrics.map_similarity import (
    centred,
    correlation,
    cosine,
    entropy,
    norm,
    rank_correlation,
    to_pixels,
    top_overlap,
)

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]  # (model, x, y) -> maps (B, h, w), ≥ 0
_BATCH = 128
_VALUES = 2**22  # of a batch of images: 27 of 3 x 224 x 224
_NORMALIZATIONS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Metric:
    """What a measure says, in one line, and which way is good: 'higher' or 'lower'."""

    better: str
    meaning: str


METRICS: dict[str, Metric] = {
    "insertion_auc": Metric("higher", "mean confidence while the most salient pixels are put in"),
    "deletion_auc": Metric("lower", "mean confidence while the most salient pixels are taken out"),
    "road": Metric("higher", "confidence without the least less that without the most salient / 2"),
    "average_drop": Metric("lower", "share of the confidence lost on the image times its map"),
    "increase": Metric("higher", "share of images more confident on the image times its map"),
    "max_sensitivity": Metric("lower", "largest relative change of the map under small noise"),
    "max_sensitivity_net": Metric("lower", "the same of maps less their means"),
    "drift_cosine": Metric("higher", "cosine of the clean and the adversarial map"),
    "drift_correlation": Metric("higher", "the same of maps less their means"),
    "drift_iou": Metric("higher", "overlap of the top 20 % pixels, clean and adversarial"),
    "cross_cosine": Metric("lower", "cosine of the map and another image's"),
    "cross_correlation": Metric("lower", "the same of maps less their means"),
    "entropy": Metric("lower", "of the map, 1 being uniform"),
    "randomization_similarity": Metric("lower", "rank correlation with a random model's map"),
    "border_mass": Metric("lower", "share of the map on its outer ring of cells"),
}
ORDERED = ("insertion_auc", "deletion_auc", "road")  # rest on an order of the pixels alone
RANDOM, NET = "_random", "_net"  # what a map of random cells gets, and the map's own less that
ALL = (*METRICS, *(f"{name}{end}" for name in ORDERED for end in (RANDOM, NET)))


def explainer(cam: str = "gradcam", layer: str | None = None) -> Explain:
    """`cams.activation_maps` by one method and layer, as tensors on the images' device."""

    def explain(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return torch.from_numpy(activation_maps(model, x, y, method=cam, layer=layer)).to(x.device)

    return explain


def max_sensitivity(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    explain: Explain,
    *,
    maps: Tensor | None = None,
    radius: float = 0.02,
    samples: int = 5,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """The largest relative change of the map under noise (Yeh et al. 2019, arXiv 1901.09392).

    max ‖map(x + δ) - map(x)‖ / ‖map(x)‖, Frobenius norms, over draws of δ uniform in the L∞ ball,
    x + δ cut to [0, 1]. All images meet the same δ, so that no value depends on the batch.

    Args:
        model, x, y, explain: as `confidence_curve`; and what makes maps, such as `explainer()`.
        maps: (B, h, w) of x, where they are known.
        radius: in pixel units, in [0, 1].
        samples, seed: how many draws of δ, ≥ 1, and what fixes them.

    Returns:
        (B,) float64 ≥ 0, and the same of maps less their means; lower is better. 0 where all maps
        are zero, NaN where only map(x) is.

    Raises:
        InvalidInput: an argument is not as above.
    """
    check_count("samples", samples)
    check_count("seed", seed, least=0)
    if not 0.0 <= radius <= 1.0:
        raise InvalidInput(f"radius must lie in [0, 1]; got {radius!r}")
    generator = torch.Generator(x.device).manual_seed(seed)
    noise = radius * (2 * uniform(x, (samples, *x.shape[1:]), generator) - 1)
    clean = (explain(model, x, y) if maps is None else maps).double()
    moved = [explain(model, (x + delta).clamp(0, 1), y).double() for delta in noise]
    return (
        _largest_change(clean, moved),
        _largest_change(centred(clean), [centred(each) for each in moved]),
    )


def _largest_change(clean: Tensor, moved: Sequence[Tensor]) -> Tensor:
    largest = torch.stack([norm(each - clean) for each in moved]).amax(0)
    relative = largest / norm(clean)
    return torch.where(largest == 0, 0.0, torch.where(relative.isinf(), torch.nan, relative))


def randomized(model: nn.Module, seed: int = 0, last: int | None = None) -> nn.Module:
    """A copy with weights that know nothing, for the check of Adebayo et al. 2018 (1810.03292).

    A map that stays the same on such a copy does not show what the model has learnt. Weights are
    drawn from N(0, 2 / fan-in), biases are 0, normalizations start afresh with their statistics.

    Args:
        model: not modified; global random state neither.
        seed: fixes the draw, on every device alike.
        last: only the last so many modules that hold weights or statistics, as the model defines
            them: a stage of the paper's cascade from the logits down. None is all.

    Raises:
        InvalidInput: `seed` is below 0, or `last` below 1.
    """
    check_count("seed", seed, least=0)
    result = copy.deepcopy(model)
    holders = [
        module
        for module in result.modules()
        if isinstance(module, _NORMALIZATIONS) or [*module.parameters(recurse=False)]
    ]
    if last is not None:
        check_count("last", last)
        holders = holders[-last:]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in holders:
            if isinstance(module, _NORMALIZATIONS):
                module.reset_parameters()
                continue
            for weight in module.parameters(recurse=False):
                spread = (2 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.0
                weight.copy_(spread * torch.randn(weight.shape, generator=generator))
    return result


def measure(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    adversarial: Tensor,
    *,
    cam: str = "gradcam",
    layer: str | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Tensor]:
    """All measures for each image, in batches.

    Args:
        model: from x to logits (N, K).
        x: (N, C, H, W) in [0, 1].
        y: (N,) classes to explain, for clean and adversarial images alike: usually the model's
            prediction on x.
        adversarial: (N, C, H, W), what an attack made of x.
        cam, layer: a key of `cams.CAMS`, and a layer as in `cams.activation_maps`.
        seed: fixes the noise, the random model and the random maps.
        progress: called with the number of images of each finished batch.

    Returns:
        Each name of `ALL` -> (N,) float64 on the CPU; 'increase' is 0 or 1, the sensitivities may
        be NaN (see there), so take `nanmean`. The other image of 'cross_cosine' and
        'cross_correlation' is the next one, of the last the first.

    Raises:
        InvalidInput, UnknownName: the shapes do not fit each other, or as `activation_maps`.
    """
    check_batch(x, y, adversarial)
    if adversarial.shape != x.shape:
        raise InvalidInput(f"x is {tuple(x.shape)}, adversarial {tuple(adversarial.shape)}")
    explain, random = explainer(cam, layer), randomized(model, seed)
    rows: list[dict[str, Tensor]] = []
    clean: list[Tensor] = []
    done = 0
    for images, classes, moved in _batches(x, y, adversarial):
        task = (model, images, classes)
        maps, others = explain(*task), explain(random, images, classes)
        noise = random_maps(len(x), maps, seed)[done : done + len(maps)]
        row = _of_maps(task, maps, noise, seed) | _of_drift(maps, explain(model, moved, classes), x)
        row["max_sensitivity"], row["max_sensitivity_net"] = max_sensitivity(
            *task, explain, maps=maps, seed=seed
        )
        row["randomization_similarity"] = rank_correlation(maps, others)
        rows.append({name: value.to("cpu", float64) for name, value in row.items()})
        clean.append(maps)
        done += len(images)
        progress(len(images))
    whole = torch.cat(clean)
    found = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    for name, alike in (("cross_cosine", cosine), ("cross_correlation", correlation)):
        found[name] = alike(whole, whole.roll(-1, 0)).to("cpu", float64)
    return {name: found[name] for name in ALL}


def random_maps(count: int, like: Tensor, seed: int = 0) -> Tensor:
    """(count, h, w): maps of cells drawn from [0, 1), of the size and on the device of `like`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *like.shape[1:], generator=generator).to(like.device)


def _batches(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    size = min(max(_VALUES // x[0].numel(), 1), _BATCH)
    return zip(*(torch.split(part, size) for part in (x, *others)), strict=True)


def _of_maps(
    task: tuple[nn.Module, Tensor, Tensor], maps: Tensor, noise: Tensor, seed: int
) -> dict[str, Tensor]:
    """The metrics of a batch that need its clean maps alone; `task` is (model, x, y)."""
    size = task[1].shape[2:]
    drop, increase = drop_and_increase(*task, to_pixels(maps, *size))
    own, control = (_ordered(task, to_pixels(each, *size), seed) for each in (maps, noise))
    return {
        **own,
        **{f"{name}{RANDOM}": control[name] for name in ORDERED},
        **{f"{name}{NET}": own[name] - control[name] for name in ORDERED},
        "average_drop": drop,
        "increase": increase,
        "entropy": entropy(maps),
        "border_mass": torch.tensor([*map(border_mass, maps.cpu().numpy())], dtype=float64),
    }


def _ordered(
    task: tuple[nn.Module, Tensor, Tensor], pixels: Tensor, seed: int
) -> dict[str, Tensor]:
    """The metrics of `ORDERED`."""
    return {
        "insertion_auc": insertion_auc(*task, pixels),
        "deletion_auc": deletion_auc(*task, pixels),
        "road": road(*task, pixels, seed=seed),
    }


def _of_drift(clean: Tensor, attacked: Tensor, x: Tensor) -> dict[str, Tensor]:
    """The metrics that compare the maps of clean and attacked images, of the size of those in x."""
    size = (x.shape[2], x.shape[3])
    overlap = top_overlap(to_pixels(clean, *size), to_pixels(attacked, *size))
    return {
        "drift_cosine": cosine(clean, attacked),
        "drift_correlation": correlation(clean, attacked),
        "drift_iou": overlap,
    }
