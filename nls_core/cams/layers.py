"""The layers of a model that maps can be taken at, and the map in what a layer returns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nls_core.errors import InvalidInput, UnknownName, unknown
from nls_core.nets import frozen

Shape = tuple[int, int, int]  # (c, h, w) of a layer's output
PREFIX = 8  # tokens at most before those of patches: of the class, distillation, registers


def spatial(output: Tensor) -> Tensor | None:
    """What a layer returns as a map (B, c, h, w), or None where it is none.

    Transformers return (B, h, w, c), known by h = w ≠ c, or tokens (B, n, c): a square of patches
    behind up to `PREFIX` others, which have no place in the picture. The same reshaping is called
    `reshape_transform` in the grad-cam library.
    """
    if output.ndim == 4:
        _, first, second, third = output.shape
        return output.permute(0, 3, 1, 2) if first == second != third else output
    if output.ndim != 3:
        return None
    side = math.isqrt(output.shape[1])
    others = output.shape[1] - side**2
    if side < 2 or others > PREFIX:
        return None
    return output[:, others:].transpose(1, 2).reshape(len(output), -1, side, side)


def probe(model: nn.Module, x: Tensor) -> tuple[dict[str, Shape], int]:
    """The (c, h, w) of each module that returns one map, in forward order, and K.

    Modules that run more than once (a shared ReLU) have no single map and are left out.
    """
    calls: dict[str, list[Any]] = {}
    handles = [
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: calls.setdefault(name, []).append(
                spatial(output) if isinstance(output, Tensor) else None
            )
        )
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            logits = model(x)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise InvalidInput("the model must return logits (B, K); it returned something else")
    maps = {
        name: (seen[0].shape[1], seen[0].shape[2], seen[0].shape[3])
        for name, seen in calls.items()
        if len(seen) == 1 and seen[0] is not None
    }
    return maps, logits.shape[1]


def _blocks(model: nn.Module, maps: dict[str, Shape]) -> tuple[str, ...]:
    """The block-level layers among `maps` that are larger than 1x1, in forward order.

    Of a transformer, the norms at which its blocks begin: what the last block makes of the patches
    is dropped where a class token answers, and has no gradient.
    """
    if norms := tuple(name for name in maps if _opens_block(model, name)):
        return norms
    found: list[str] = []

    def visit(prefix: str, module: nn.Module) -> None:
        for child_name, child in module.named_children():
            name = prefix + child_name
            inner = [f"{name}.{part}" for part, sub in child.named_children() if _has_parts(sub)]
            spans_stages = len({maps[part][1:] for part in inner if part in maps}) > 1
            if name in maps and not spans_stages:
                found.append(name)
            else:  # the net itself, or a trunk such as densenet's `features`
                visit(f"{name}.", child)

    visit("", model)
    found = [name for name in maps if name in found and maps[name][1:] != (1, 1)]  # forward order
    # single operations (a stem's convolution, a pooling) count only where there is nothing else,
    # or as the last: densenet's final norm
    blocks = [name for name in found[:-1] if _has_parts(model.get_submodule(name))]
    return tuple([*blocks, found[-1]] if blocks else found)


def _opens_block(model: nn.Module, name: str) -> bool:
    """Whether a module is the layer norm that comes first in a block, with attention after it."""
    parent, _, own = name.rpartition(".")
    parts = list(model.get_submodule(parent).named_children())
    is_norm = isinstance(model.get_submodule(name), nn.LayerNorm)
    return is_norm and parts[0][0] == own and any("attn" in n or "attention" in n for n, _ in parts)


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def choose_layer(model: nn.Module, layer: str | None, maps: dict[str, Shape]) -> str:
    """A layer by name, or the last block; `maps` as `probe` gives them.

    Raises:
        UnknownName, InvalidInput: there is no such layer, or none with a map.
    """
    blocks = _blocks(model, maps)
    if layer is None and blocks:
        return blocks[-1]
    if layer is None:
        raise InvalidInput("expected a layer with a map larger than 1x1 at this size; got none")
    if layer not in maps:
        raise UnknownName(unknown("layer", layer, blocks))
    return layer


def layer_shapes(model: nn.Module, x_shape: Sequence[int]) -> dict[str, Shape]:
    """The layers worth looking at, as dotted names in forward order, with the (c, h, w) of each.

    These are the stages and blocks of the trunk whose output is a map larger than 1x1, e.g.
    'net.stage2' or 'net.features.5'. `activation_maps` takes finer names as well.

    Args:
        model: from (B, C, H, W) to logits.
        x_shape: (C, H, W) or (B, C, H, W), ints; one zero image of that size is run.

    Raises:
        InvalidInput: the shape has not 3 or 4 entries, or the model returns no logits.
    """
    if len(x_shape) not in (3, 4):
        raise InvalidInput(f"x_shape must be (C, H, W) or (B, C, H, W); got {tuple(x_shape)}")
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    with frozen(model):
        maps, _ = probe(model, weight.new_zeros((1, *x_shape[-3:])))
    return {name: maps[name] for name in _blocks(model, maps)}


def layer_names(model: nn.Module, x_shape: Sequence[int]) -> tuple[str, ...]:
    """The names of `layer_shapes`, with its arguments and errors."""
    return tuple(layer_shapes(model, x_shape))


def default_layer(model: nn.Module, x_shape: Sequence[int]) -> str:
    """The last of `layer_names`, nearest to the logits; arguments as there.

    Raises:
        InvalidInput: as `layer_names`, or no layer has a map larger than 1x1.
    """
    names = layer_names(model, x_shape)
    if not names:
        raise InvalidInput(f"expected a map larger than 1x1 at {tuple(x_shape)}; got none")
    return names[-1]
