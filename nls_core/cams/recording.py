"""One forward that gives logits and a layer's activations, and the maps made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nls_core.cams.layers import spatial
from nls_core.cams.methods import CAMS, Progress, Taken
from nls_core.errors import InvalidInput
from nls_core.types import FloatArray


@dataclass(frozen=True)
class Seen:
    """What a forward of x (B, C, H, W) gave: logits (B, K), and what a layer returned.

    Both are of one graph, which begins at x where x requires a gradient, and else at the layer.
    """

    logits: Tensor
    activations: Tensor


def record(model: nn.Module, x: Tensor, layer: str) -> Seen:
    """Run a model in eval mode with frozen weights, and keep what one layer returns.

    Args:
        model: from x to logits (B, K).
        x: (B, C, H, W) on the model's device. Where it requires no gradient, nothing before the
            layer is kept for a backward: the gradient of the layer costs its tail alone.
        layer: dotted name of a module that returns one map, once in a forward.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        node = output if output.requires_grad else output.detach().requires_grad_()
        kept.append(node)
        return node.clone()  # what follows may change it in place: the map is of what it was

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = model(x)
    finally:
        handle.remove()
    return Seen(logits, kept[0])


def maps_of(
    model: nn.Module,
    x: Tensor,
    seen: Seen,
    targets: Sequence[int],
    *,
    method: str = "gradcam",
    progress: Progress | None = None,
) -> FloatArray:
    """Maps from one recorded forward; its graph stays, for other gradients.

    Args:
        model: in eval mode with frozen weights; only ScoreCAM runs it again.
        x: (B, C, H, W) that was run.
        seen: what `record` gave.
        targets: (B,) classes in [0, K).
        method: a key of `CAMS`.
        progress: called with the finished fraction in (0, 1], last with 1.0.

    Returns:
        (B, h, w) float32, ≥ 0; see `activation_maps`.

    Raises:
        InvalidInput: the logits do not depend on the layer.
    """
    cam, activations = CAMS[method], _array(seen.activations)
    gradients = _array(_gradient(seen, targets)) if cam.gradients else activations[:0]
    values = cam.formula(Taken(activations, gradients, targets, model, x.detach(), progress))
    if progress is not None and cam.cost is not None:
        progress(1.0)
    return np.ascontiguousarray(np.maximum(values, 0), dtype=np.float32)


def _gradient(seen: Seen, targets: Sequence[int]) -> Tensor:
    """Of the sum of each image's own logit, at the layer."""
    wanted = torch.tensor(targets, device=seen.logits.device)[:, None]  # (B, 1)
    score = seen.logits.gather(1, wanted).sum()
    if score.requires_grad:
        (gradient,) = torch.autograd.grad(
            score, seen.activations, retain_graph=True, allow_unused=True
        )
        if gradient is not None:
            return gradient
    raise InvalidInput("the logits do not depend on this layer; choose another")


def _array(values: Tensor) -> FloatArray:
    """(B, c, h, w) of a layer's output, or of the gradient there."""
    as_map = spatial(values)
    if as_map is None:
        raise InvalidInput(f"expected a layer with a map; got one of {tuple(values.shape)}")
    array: FloatArray = as_map.detach().float().cpu().numpy()
    return array
