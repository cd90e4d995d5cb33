"""What partial padding does: the scale at each position, and where activation maps lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from nls_core import cams, nets
from nls_core.analysis.backend import Check
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.one_model import Progress
from nls_core.data import sample
from nls_core.errors import InvalidInput, unknown
from nls_core.types import FloatArray

if TYPE_CHECKING:
    from nls_core.analysis.analyzer import Analyzer

BATCH = 50  # images in one turn of the compute lane


@dataclass(frozen=True)
class Scaling:
    """The scale (h, w) of the convolutions `layers` of a model, all alike."""

    layers: tuple[str, ...]
    kind: str  # '3x3, stride 2'
    values: FloatArray


@dataclass(frozen=True)
class Border:
    """How much of the activation maps of N images lies on their outer ring of cells.

    `shares` is (N,) in [0, 1], NaN for a map that is 0 everywhere; `ring` the share of cells that
    the ring has, which is what an even map would give.
    """

    model_id: str
    shares: FloatArray
    ring: float


@dataclass(frozen=True)
class Mean:
    """A mean of `count` values, with its normal 95 % interval."""

    value: float
    low: float
    high: float
    count: int


def mean_of(values: FloatArray) -> Mean:
    """The mean of the finite entries of (N,); no interval, NaN, of fewer than two."""
    kept = values[np.isfinite(values)].astype(np.float64)
    if len(kept) < 2:
        value = float(kept.mean()) if len(kept) else math.nan
        return Mean(value, math.nan, math.nan, len(kept))
    value, half = float(kept.mean()), 1.96 * float(kept.std(ddof=1)) / math.sqrt(len(kept))
    return Mean(value, value - half, value + half, len(kept))


def ratios(model: nn.Module, shape: tuple[int, int, int]) -> list[Scaling]:
    """The scales that a model with partial padding multiplies its convolutions by.

    Args:
        model: with `nets.PartialConv2d`s; one zero image is run through it.
        shape: (C, H, W) of its input.

    Returns:
        In forward order, equal ones together; none for convolutions without padding.
    """
    found: dict[tuple[str, tuple[int, ...], bytes], tuple[list[str], FloatArray]] = {}

    def look(name: str, conv: nets.PartialConv2d, size: tuple[int, int]) -> None:
        if not any(conv.pads(*size)):
            return
        values = conv.ratio(*size, torch.empty(0)).numpy()
        kind = f"{conv.kernel_size[0]}x{conv.kernel_size[1]}, stride {conv.stride[0]}"
        key = (kind, values.shape, values.tobytes())
        found.setdefault(key, ([], values))[0].append(name)

    handles = [
        module.register_forward_pre_hook(
            lambda conv, inputs, name=name: look(name, conv, tuple(inputs[0].shape[-2:]))
        )
        for name, module in model.named_modules()
        if isinstance(module, nets.PartialConv2d)
    ]
    weight = next(model.parameters())
    try:
        with nets.frozen(model), torch.no_grad():
            model(weight.new_zeros((1, *shape)))
    finally:
        for handle in handles:
            handle.remove()
    return [Scaling(tuple(names), kind, values) for (kind, _, _), (names, values) in found.items()]


def ratios_of(loaded: Loaded, check: Check) -> list[Scaling]:
    """`ratios` of a loaded model."""
    size = loaded.manifest.input_size
    return ratios(loaded.model, (loaded.manifest.channels, size, size))


def shares(images: sample.Sample, method: str, layer: str, loaded: Loaded, check: Check) -> Border:
    """The border's share in each image's map for its true class."""
    x = images.x().to(next(loaded.model.parameters()).device)
    maps = cams.activation_maps(loaded.model, x, images.labels, method=method, layer=layer)
    found = [cams.border_mass(m) if m.any() else math.nan for m in maps]
    return Border(
        loaded.manifest.id, np.array(found, np.float32), cams.border_mass(np.ones_like(maps[0]))
    )


class PaddingMaps:
    """The same loss trained with zero and with partial padding, side by side."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer

    def pairs(self) -> list[str]:
        """'family/loss' where both paddings are in the zoo, beside test images."""
        ids, folder = self.analyzer.ids(), self.analyzer.settings.models_dir
        stems = [i.removesuffix("-partial") for i in ids if i.endswith("-partial")]
        there = [f for f in self.analyzer.families() if sample.path_of(f, folder).is_file()]
        paired = [stem for stem in stems if f"{stem}-zero" in ids]
        return [stem for f in there for stem in paired if stem.partition("/")[0] == f]

    def layers(self, pair: str) -> tuple[str, ...]:
        """The target layers of a pair, in forward order."""
        return self.analyzer.layers(f"{pair}-partial")

    def ratios(self, pair: str) -> list[Scaling]:
        """The scales in the pair's model with partial padding; errors as `Analyzer.run`."""
        return self.analyzer.run(f"{pair}-partial", partial(ratios_of))

    def borders(
        self,
        pair: str,
        method: str,
        layer: str,
        progress: Progress = lambda done, what: None,
    ) -> tuple[Border, Border]:
        """The border's share with zero and with partial padding, on the same test images.

        Raises:
            InvalidInput: an unknown layer or method.
            DatasetMissing, CheckpointError, QueueFull: as `sample.read` and `Analyzer.run`.
        """
        if method not in cams.quick():  # the others are too slow for 1,000 images
            raise InvalidInput(unknown("map", method, cams.quick()))
        images = sample.read(pair.split("/", maxsplit=1)[0], self.analyzer.settings.models_dir)
        results = []
        for n, model_id in enumerate((f"{pair}-zero", f"{pair}-partial")):
            parts = []
            for start in range(0, len(images), BATCH):
                progress((n + start / len(images)) / 2, f"{model_id}: {method}")
                chosen = images.part(start, start + BATCH)
                work = partial(shares, chosen, method, layer)
                parts.append(self.analyzer.run(model_id, work))
            joined = np.concatenate([part.shares for part in parts])
            results.append(Border(model_id, joined, parts[0].ring))
        return results[0], results[1]
