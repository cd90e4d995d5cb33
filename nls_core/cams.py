"""Class activation maps: where a model looks for a class, in the method's own units.

Six published methods through the grad-cam library, without its per-map min-max scaling and at
the layer's own resolution, so that maps of several models stay comparable. The library is driven
through its hooks only: its `forward` calls `zero_grad` and `backward`, which would touch the
`.grad` of shared weights, and its `with` block swallows IndexError. Gradients come from
`torch.autograd.grad` with frozen weights.

A map belongs to what the layer itself returns, before a later in-place operation (densenet's
last ReLU) changes it. Not thread-safe: a model may run one map at a time.

Notation: activations A (B, c, h, w) of the layer, score z_t of the target class t, and gradients
g = ∂z_t/∂A.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from nls_core.errors import InvalidInput, UnknownName, choose, unknown
from nls_core.nets import frozen
from nls_core.types import FloatArray

Progress = Callable[[float], None]
_SCORE_BATCH = 16  # masked copies of one image in a ScoreCAM forward


class _GradCAMPlusPlus(GradCAMPlusPlus):  # type: ignore[misc]
    """GradCAM++ over positive gradients only: the formula drops the others after dividing."""

    def get_cam_weights(self, *arguments: Any) -> FloatArray:
        """(B, c); a negative gradient could make the library divide by 0 and lose the map."""
        *rest, grads = arguments
        weights: FloatArray = super().get_cam_weights(*rest, np.maximum(grads, 0))
        return weights


class _EigenCAM(EigenCAM):  # type: ignore[misc]
    """EigenCAM with a definite sign, by a thin SVD.

    The sign of a singular vector is arbitrary: here the map rises where the layer's summed
    activation does. The library's full SVD needs (h·w)² numbers, too many for early layers.
    """

    def get_cam_image(self, *arguments: Any) -> FloatArray:
        """(B, h, w): A, centred over positions, on its first principal component."""
        activations: FloatArray = arguments[3]
        maps = []
        for image in activations:
            points = image.reshape(len(image), -1).T  # (h·w, c)
            points = points - points.mean(0)
            projection = points @ np.linalg.svd(points, full_matrices=False)[2][0]
            sign = -1.0 if projection @ points.sum(1) < 0 else 1.0
            maps.append(sign * projection.reshape(image.shape[1:]))
        return np.stack(maps).astype(np.float32)


class _ScoreCAM(ScoreCAM):  # type: ignore[misc]
    """ScoreCAM in batches of masks, with progress.

    The library makes the masked copies of all channels at once, which for 1280 channels at
    224 pixels is 0.8 GB an image, and prints a progress bar.
    """

    progress: Progress | None = None

    def get_cam_weights(self, *arguments: Any) -> FloatArray:
        """(B, c): softmax over channels of the score of the input masked by that channel."""
        x, _, targets, activations, _ = arguments
        images, channels = activations.shape[:2]
        scores = torch.empty(images, channels)
        for image, target in enumerate(targets):
            for start in range(0, channels, _SCORE_BATCH):
                chosen = slice(start, start + _SCORE_BATCH)
                masks = torch.from_numpy(activations[image, chosen]).to(x)[:, None]  # (n, 1, h, w)
                masks = F.interpolate(masks, x.shape[-2:], mode="bilinear", align_corners=True)
                low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
                with torch.no_grad():
                    logits = self.model(x[image] * (masks - low) / (high - low + 1e-8))
                scores[image, chosen] = torch.stack([target(row) for row in logits]).float().cpu()
                if self.progress is not None:
                    done = image * channels + min(start + _SCORE_BATCH, channels)
                    self.progress(done / (images * channels))
        weights: FloatArray = scores.softmax(1).numpy()
        return weights


# method -> the class that computes it; every map is then cut at 0
CAMS: dict[str, type[Any]] = {
    "gradcam": GradCAM,  # Σ_c mean(g_c) A_c; Selvaraju et al. 2016, arXiv 1610.02391
    "gradcam++": _GradCAMPlusPlus,  # weights from g², g³; Chattopadhay et al., arXiv 1710.11063
    "hirescam": HiResCAM,  # Σ_c g_c A_c; Draelos & Carin 2020, arXiv 2011.08891
    "layercam": LayerCAM,  # Σ_c relu(g_c) A_c; Jiang et al. 2021, IEEE TIP 30
    "eigencam": _EigenCAM,  # first component of A, no class; Muhammad & Yeasin, arXiv 2008.00299
    "scorecam": _ScoreCAM,  # Σ_c softmax(scores)_c A_c; Wang et al. 2019, arXiv 1910.01279
}


def activation_maps(
    model: nn.Module,
    x: Tensor,
    target_class: int | Sequence[int] | Tensor | NDArray[np.integer[Any]],
    *,
    method: str = "gradcam",
    layer: str | None = None,
    progress: Progress | None = None,
) -> FloatArray:
    """Where the model looks for a class.

    The model runs in eval mode with frozen weights; its flags, hooks and `.grad` are afterwards
    as before, also when it raises. Works under `torch.no_grad()`.

    Args:
        model: from x to logits (B, K); images of a batch must not influence each other.
        x: (B, C, H, W) on the model's device.
        target_class: one class in [0, K), or one per image. 'eigencam' makes no use of it.
        method: a key of `CAMS`, whose comments give formula and source.
        layer: dotted name of a module that returns one 4-D map; None is `default_layer`.
        progress: called with the finished fraction in (0, 1], last with 1.0.

    Returns:
        (B, h, w) float32, ≥ 0, at the layer's resolution, not rescaled. The unit is that of the
        logits for the gradient methods and that of the activations for the other two.

    Raises:
        UnknownName: no such method or layer.
        InvalidInput: `x`, `target_class` or the model's output is not as above, or the logits
            do not depend on the layer.
    """
    cam_type = choose("activation map", method, CAMS)
    if x.ndim != 4 or not len(x) or not x.is_floating_point():
        raise InvalidInput(
            f"x must be (B, C, H, W) of a float dtype with B ≥ 1; got {x.dtype} {tuple(x.shape)}"
        )
    with frozen(model), torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone()
        maps, classes = _probe(model, x[:1])
        targets = _targets(target_class, len(x), classes)
        module = model.get_submodule(_choose_layer(model, layer, maps))
        cam = cam_type(model, [module], reshape_transform=_snapshot)
        try:
            if isinstance(cam, _ScoreCAM):
                cam.progress = progress
            result = _compute(cam, x, targets)
        finally:
            cam.activations_and_grads.release()
    if progress is not None and method != "scorecam":
        progress(1.0)
    return result


def _snapshot(values: Tensor) -> Tensor:
    """A copy: the library's own view would follow later in-place changes, on the CPU only."""
    return values.detach().to(torch.float32, copy=True)


def _compute(cam: Any, x: Tensor, targets: list[Any]) -> FloatArray:
    """(B, h, w) relu of the method's map, from one forward and at most one backward."""
    recorder = cam.activations_and_grads
    logits = recorder(x.requires_grad_(cam.uses_gradients))
    gradients = None
    if cam.uses_gradients:
        score = torch.stack([target(row) for target, row in zip(targets, logits, strict=True)])
        # the recorder's tensor hooks see the layer's gradient on the way to x
        if score.requires_grad:
            torch.autograd.grad(score.sum(), x)
        if not recorder.gradients:
            raise InvalidInput("the logits do not depend on this layer; choose another")
        gradients = recorder.gradients[0].numpy()
    activations = recorder.activations[0].numpy()
    recorder.release()  # or ScoreCAM's forwards would be recorded too
    values = cam.get_cam_image(
        x.detach(), cam.target_layers[0], targets, activations, gradients, False
    )
    return np.ascontiguousarray(np.maximum(values, 0), dtype=np.float32)


def _targets(target_class: Any, images: int, classes: int) -> list[Any]:
    """One scoring function per image."""
    wanted = torch.as_tensor(target_class).cpu()
    if wanted.is_floating_point() or wanted.is_complex() or wanted.dtype == torch.bool:
        raise InvalidInput(f"target_class must be of an integer dtype; got {wanted.dtype}")
    if wanted.ndim and wanted.shape != (images,):
        raise InvalidInput(
            f"target_class must be one class or ({images},), one per image; "
            f"got shape {tuple(wanted.shape)}"
        )
    chosen = wanted.long().expand(images).tolist()
    if not 0 <= min(chosen) <= max(chosen) < classes:
        raise InvalidInput(f"target_class must lie in [0, {classes}); got {target_class!r}")
    return [ClassifierOutputTarget(index) for index in chosen]


Shape = tuple[int, int, int]  # (c, h, w) of a layer's output


def _probe(model: nn.Module, x: Tensor) -> tuple[dict[str, Shape], int]:
    """The (c, h, w) of each module that returns one 4-D map, in forward order, and K.

    Modules that run more than once (a shared ReLU) have no single map and are left out.
    """
    calls: dict[str, list[Any]] = {}
    handles = [
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: calls.setdefault(name, []).append(
                tuple(output.shape) if isinstance(output, Tensor) else None
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
        name: seen[0][1:]
        for name, seen in calls.items()
        if len(seen) == 1 and seen[0] is not None and len(seen[0]) == 4
    }
    return maps, logits.shape[1]


def _blocks(model: nn.Module, maps: dict[str, Shape]) -> tuple[str, ...]:
    """The block-level layers among `maps` that are larger than 1x1, in forward order."""
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


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _choose_layer(model: nn.Module, layer: str | None, maps: dict[str, Shape]) -> str:
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
        maps, _ = _probe(model, weight.new_zeros((1, *x_shape[-3:])))
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


def border_mass(values: ArrayLike, width: int = 1) -> float:
    """The fraction of a map's mass that lies on its outer ring; zero padding can draw it there.

    Args:
        values: (h, w), ≥ 0.
        width: of the ring, in map cells, ≥ 1; a ring that covers the map has all the mass.

    Returns:
        A float in [0, 1]; 0 for a map without mass.

    Raises:
        InvalidInput: an argument is not as above.
    """
    cells = np.asarray(values, dtype=np.float64)
    if cells.ndim != 2 or not cells.size or not np.isfinite(cells).all() or cells.min() < 0:
        raise InvalidInput(f"expected a finite (h, w) map ≥ 0; got shape {cells.shape} or values")
    if width < 1:
        raise InvalidInput(f"the ring's width must be at least 1; got {width}")
    ring = cells.copy()
    ring[width:-width, width:-width] = 0.0
    total = float(cells.sum())
    return min(float(ring.sum()) / total, 1.0) if total > 0 else 0.0
