"""Maps of transformers: their tokens as a picture, against the grad-cam library's reshaping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from pytorch_grad_cam import GradCAM, LayerCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform
from torch import Tensor, nn

from nls_core import nets
from nls_core.cams import activation_maps, layer_shapes
from nls_core.cams.layers import spatial
from nls_core.errors import InvalidInput, UnknownName

X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def transformer(**changes: Any) -> nets.Classifier:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24}
    net = timm.models.VisionTransformer(**options | changes, depth=2, num_heads=2, num_classes=5)
    return nets.Classifier(net, (0.5,) * 3, (0.5,) * 3).eval()


def windows() -> nets.Classifier:
    torch.manual_seed(0)
    net = timm.models.SwinTransformer(
        img_size=32, patch_size=4, window_size=2, embed_dim=12, depths=(1, 1), num_heads=(1, 2),
        num_classes=5,
    )  # fmt: skip
    return nets.Classifier(net, (0.5,) * 3, (0.5,) * 3).eval()


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (transformer(), {f"net.blocks.{i}.norm1": (24, 4, 4) for i in range(2)}),
        (transformer(reg_tokens=4), {f"net.blocks.{i}.norm1": (24, 4, 4) for i in range(2)}),
        (
            windows(),
            {"net.layers.0.blocks.0.norm1": (12, 8, 8), "net.layers.1.blocks.0.norm1": (24, 4, 4)},
        ),
    ],
)
def test_the_layers_are_the_norms_at_which_blocks_begin(
    model: nets.Classifier, wanted: dict[str, tuple[int, int, int]]
) -> None:
    assert layer_shapes(model, (3, 32, 32)) == wanted
    maps = activation_maps(model, X, [1, 4])
    assert maps.shape == (2, 4, 4)
    assert maps.max() > 0


@pytest.mark.parametrize(("method", "theirs"), [("gradcam", GradCAM), ("layercam", LayerCAM)])
@pytest.mark.parametrize(
    ("model", "layer", "reshape"),
    [
        (transformer(), "net.blocks.1.norm1", lambda t: vit_reshape_transform(t, 4, 4)),
        (windows(), "net.layers.1.blocks.0.norm1", lambda t: t.permute(0, 3, 1, 2)),
    ],
)
def test_equals_the_library_with_its_reshaping(
    method: str, theirs: Any, model: nn.Module, layer: str, reshape: Any
) -> None:
    cam = theirs(model, [model.get_submodule(layer)], reshape_transform=reshape)
    wanted = cam(X.clone().requires_grad_(), [ClassifierOutputTarget(i) for i in (1, 4)])
    cam.activations_and_grads.release()
    ours = activation_maps(model, X, [1, 4], method=method, layer=layer)
    scaled = scale_cam_image(scale_cam_image(ours, (32, 32)))
    np.testing.assert_allclose(scaled, wanted, atol=2e-5)


def test_what_the_last_block_makes_of_patches_tells_nothing_of_the_class() -> None:
    """The class token alone answers: a map there would be empty."""
    model = transformer()
    assert activation_maps(model, X, 1, layer="net.blocks.1").max() == 0


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((2, 7, 5, 5), (2, 7, 5, 5)),
        ((2, 5, 5, 7), (2, 7, 5, 5)),
        ((2, 5, 5, 5), (2, 5, 5, 5)),
        ((2, 16, 7), (2, 7, 4, 4)),
        ((2, 17, 7), (2, 7, 4, 4)),
        ((2, 20, 7), (2, 7, 4, 4)),
        ((2, 3, 7), None),
        ((2, 96, 7), None),  # 15 more than a square
        ((2, 7), None),
    ],
)
def test_the_map_in_what_a_layer_returns(
    shape: tuple[int, ...], wanted: tuple[int, ...] | None
) -> None:
    found = spatial(torch.rand(shape))
    assert (None if found is None else tuple(found.shape)) == wanted


def test_each_patch_has_its_place() -> None:
    tokens = torch.arange(17.0).view(1, 17, 1) - 1  # the class token is -1
    found = spatial(tokens)
    assert isinstance(found, Tensor)
    assert found[0, 0].tolist() == torch.arange(16.0).view(4, 4).tolist()


def test_a_layer_without_places_is_refused() -> None:
    with pytest.raises((InvalidInput, UnknownName)):
        activation_maps(transformer(), X, 1, layer="net.head")
