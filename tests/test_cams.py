"""Activation maps against the grad-cam library's own output and against closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from nls_core import nets
from nls_core.cams import CAMS, Taken, activation_maps, border_mass, default_layer, layer_names
from nls_core.errors import InvalidInput, UnknownName
from tests.conftest import make_model

THEIRS = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
    "eigencam": EigenCAM,
    "scorecam": ScoreCAM,
}
GRADIENT = ("gradcam", "gradcam++", "hirescam", "layercam")
SMALLRESNET = ("net.stem", "net.stage1", "net.stage2", "net.stage3")
TORCHVISION = {
    "resnet18": "net.layer4",
    "densenet121": "net.features.norm5",
    "mobilenet_v2": "net.features.18",
    "efficientnet_b0": "net.features.8",
}
Shape = tuple[int, ...]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small two threads wait for each other, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def state(model: nn.Module) -> list[object]:
    """Every hook, flag and gradient of a model."""
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), m.training)
        for m in model.modules()
    ]
    return [*hooks, *((p.requires_grad, p.grad is None, id(p.grad)) for p in model.parameters())]


def output_of(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """A copy of what a layer returns."""
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: kept.append(output.detach().clone())
    )
    with torch.no_grad():
        model(x)
    handle.remove()
    return kept[0]


class Breaking(nn.Module):
    """Passes its input on, and raises from the n-th call on."""

    def __init__(self, error: Exception, calls: int) -> None:
        super().__init__()
        self.error, self.left = error, calls

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return x


# --- every method --------------------------------------------------------------------------------


def test_registry() -> None:
    assert list(CAMS) == list(THEIRS)
    assert {name for name, cam in CAMS.items() if cam.gradients} == set(GRADIENT)


@pytest.mark.parametrize("layer", SMALLRESNET)
@pytest.mark.parametrize("method", CAMS)
def test_shape_range_and_repeatability(
    method: str, layer: str, tiny_model: nets.Classifier, tiny_images: Tensor
) -> None:
    x = tiny_images[:2]
    maps = activation_maps(tiny_model, x, 3, method=method, layer=layer)
    assert maps.dtype == np.float32
    assert maps.shape == (2, *output_of(tiny_model, layer, x).shape[2:])
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() > 0
    again = activation_maps(tiny_model, x, 3, method=method, layer=layer)
    np.testing.assert_array_equal(maps, again)


@pytest.mark.parametrize("layer", ["net.stage2", "net.stage3"])
@pytest.mark.parametrize("method", CAMS)
def test_equals_the_library_after_its_scaling(
    method: str, layer: str, tiny_model: nets.Classifier, tiny_images: Tensor
) -> None:
    classes = [0, 3, 9, 9, 1, 5]
    ours = activation_maps(tiny_model, tiny_images, classes, method=method, layer=layer)
    if method == "eigencam":  # their sign is arbitrary: see the next test
        projected = _principal_maps(output_of(tiny_model, layer, tiny_images))
        theirs = scale_cam_image(scale_cam_image(np.maximum(projected, 0), (28, 28)))
    else:
        cam = THEIRS[method](tiny_model, [tiny_model.get_submodule(layer)])
        x = tiny_images.clone().requires_grad_()  # or frozen weights leave them no gradient
        theirs = cam(x, [ClassifierOutputTarget(index) for index in classes])
        cam.activations_and_grads.release()
    scaled = scale_cam_image(scale_cam_image(ours, (28, 28)))
    np.testing.assert_allclose(scaled, theirs, atol=2e-5)


def _principal_maps(activations: Tensor) -> np.ndarray:
    """(B, h, w) first principal components by eigenvectors, rising with the summed activation."""
    maps = []
    for image in activations.double():
        points = image.flatten(1).T  # (h·w, c)
        points = points - points.mean(0)
        projection = points @ torch.linalg.eigh(points.T @ points).eigenvectors[:, -1]
        projection *= torch.sign((projection * points.sum(1)).sum())
        maps.append(projection.view(image.shape[1:]).numpy())
    return np.stack(maps)


def test_eigencam_is_the_library_up_to_sign(
    tiny_model: nets.Classifier, tiny_images: Tensor
) -> None:
    ours = activation_maps(tiny_model, tiny_images, 0, method="eigencam")
    theirs = EigenCAM(tiny_model, []).get_cam_image(
        None, None, None, output_of(tiny_model, "net.stage3", tiny_images).numpy(), None, False
    )
    for mine, other in zip(ours, theirs, strict=True):
        candidates = [np.maximum(sign * other, 0) for sign in (1, -1)]
        assert min(np.abs(mine - candidate).max() for candidate in candidates) < 1e-5
    # and it shows where the layer fires
    energy = output_of(tiny_model, "net.stage3", tiny_images).sum(1).numpy()
    for mine, fires in zip(ours, energy, strict=True):
        assert np.corrcoef(mine.ravel(), fires.ravel())[0, 1] > 0


@pytest.mark.parametrize("method", CAMS)
def test_batch_equals_one_by_one(
    method: str, tiny_model: nets.Classifier, tiny_images: Tensor
) -> None:
    classes = torch.tensor([4, 0, 9])
    together = activation_maps(tiny_model, tiny_images[:3], classes, method=method)
    for i in range(3):
        alone = activation_maps(tiny_model, tiny_images[i : i + 1], int(classes[i]), method=method)
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", [*GRADIENT, "scorecam"])
def test_the_class_matters(method: str, tiny_model: nets.Classifier, tiny_images: Tensor) -> None:
    first, second = (
        activation_maps(tiny_model, tiny_images[:1], target, method=method) for target in (0, 1)
    )
    assert np.abs(first - second).max() > 1e-6


@pytest.mark.parametrize("method", GRADIENT)
def test_units_are_those_of_the_logits(method: str, tiny_images: Tensor) -> None:
    """Doubling the head doubles the maps (but for GradCAM++'s tiny constant): no rescaling."""
    model = make_model()
    maps = activation_maps(model, tiny_images, 2, method=method)
    model.net.head.weight.mul_(2)
    doubled = activation_maps(model, tiny_images, 2, method=method)
    tolerance = 0.2 if method == "gradcam++" else 1e-4
    np.testing.assert_allclose(doubled, 2 * maps, rtol=tolerance, atol=1e-6)


# --- closed form ---------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", nets.PADDINGS)
def test_last_layer_in_closed_form(padding: str, tiny_images: Tensor) -> None:
    """Before mean pooling and a linear head, GradCAM and HiResCAM are CAM divided by h·w."""
    model = make_model(padding=padding)
    classes = torch.tensor([0, 1, 2, 3, 4, 9])
    activations = output_of(model, "net.stage3", tiny_images)  # (B, c, 7, 7)
    weights = model.net.head.weight[classes]  # (B, c)
    cam = torch.einsum("bc,bchw->bhw", weights, activations).relu() / 49
    layer = torch.einsum("bc,bchw->bhw", weights.relu(), activations) / 49
    for method, expected in (("gradcam", cam), ("hirescam", cam), ("layercam", layer)):
        maps = activation_maps(model, tiny_images, classes, method=method)
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)


def test_scorecam_in_closed_form(tiny_model: nets.Classifier, tiny_images: Tensor) -> None:
    x = tiny_images[:1]
    activations = output_of(tiny_model, "net.stage3", x)[0]  # (c, 7, 7)
    masks = F.interpolate(activations[:, None], (28, 28), mode="bilinear", align_corners=True)
    masks = masks - masks.amin((2, 3), keepdim=True)
    masks = masks / masks.amax((2, 3), keepdim=True).clamp_min(1e-8)
    weights = tiny_model(x * masks)[:, 6].softmax(0)
    expected = torch.einsum("c,chw->hw", weights, activations).relu()
    maps = activation_maps(tiny_model, x, 6, method="scorecam")
    np.testing.assert_allclose(maps[0], expected, rtol=1e-3, atol=1e-6)


def test_gradcam_plus_plus_survives_a_vanishing_denominator(tiny_model: nets.Classifier) -> None:
    """2g² + S·g³ + 1e-6 is exactly 0 here, at a gradient that the formula then drops."""
    gradient = np.full((1, 1, 1, 1), -(2.0**-11), np.float32)
    total = np.full((1, 1, 1, 1), 4096 + float(np.float32(1e-6)) * 2.0**33, np.float32)
    arguments = (None, None, None, total)
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = GradCAMPlusPlus(tiny_model, []).get_cam_weights(*arguments, gradient)
    assert np.isnan(theirs).all()
    taken = Taken(total, gradient, [0], tiny_model, torch.zeros(1, 1, 1, 1))
    assert CAMS["gradcam++"].formula(taken).item() == 0.0


def test_in_place_changes_after_the_layer_do_not_show() -> None:
    """densenet applies an in-place ReLU to its last norm: the map is of the norm's own output."""
    torch.manual_seed(0)
    model = nets.Classifier(nets.build("densenet121", 5, 3), [0.5] * 3, [0.25] * 3).eval()
    x = torch.rand(2, 3, 64, 64)
    activations = output_of(model, "net.features.norm5", x)  # (B, c, 2, 2)
    assert activations.min() < 0
    gradients = model.net.classifier.weight[1].view(1, -1, 1, 1) * (activations > 0) / 4
    hires = (gradients * activations).sum(1).relu()
    grad = (gradients.mean((2, 3), keepdim=True) * activations).sum(1).relu()
    for method, expected in (("hirescam", hires), ("gradcam", grad)):
        maps = activation_maps(model, x, 1, method=method)
        np.testing.assert_allclose(maps, expected.detach(), rtol=1e-3, atol=1e-6)


# --- the model is left as it was -----------------------------------------------------------------


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("method", CAMS)
def test_model_is_left_alone(method: str, train: bool, tiny_images: Tensor) -> None:
    model = make_model()
    expected = activation_maps(model, tiny_images[:2], 1, method=method)
    if train:  # a mix of modes and flags, with a gradient under way
        model.train().requires_grad_(True)
        model.net.stage1.eval()
        model.net.stem[0].weight.requires_grad_(False)
        model.net.head.weight.grad = torch.ones_like(model.get_parameter("net.head.weight"))
    before, weights = state(model), {k: v.clone() for k, v in model.state_dict().items()}
    x = tiny_images[:2].clone().requires_grad_()
    with torch.no_grad():
        maps = activation_maps(model, x, 1, method=method)
    assert state(model) == before
    assert x.grad is None
    np.testing.assert_array_equal(maps, expected)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    if train:
        assert (model.net.head.weight.grad == 1).all()


@pytest.mark.parametrize("method", CAMS)
def test_eval_and_frozen_while_it_runs(method: str, tiny_images: Tensor) -> None:
    model = make_model().train().requires_grad_(True)
    seen: list[bool] = []
    model.net.head.register_forward_hook(
        lambda *_: seen.append(model.training or any(p.requires_grad for p in model.parameters()))
    )
    activation_maps(model, tiny_images[:1], 0, method=method)
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize("error", [RuntimeError("broken"), IndexError("broken")])
@pytest.mark.parametrize("method", ["gradcam", "scorecam"])
def test_failures_pass_through_and_leave_nothing(
    method: str, error: Exception, calls: int, tiny_images: Tensor
) -> None:
    """The model raises in the first forward, the recorded one, or one of ScoreCAM's."""
    model = make_model().train().requires_grad_(True)
    model.net.head = nn.Sequential(Breaking(error, calls), model.net.get_submodule("head"))
    before = state(model)
    if (method, calls) == ("gradcam", 2):
        assert activation_maps(model, tiny_images, 0, method=method).shape == (6, 7, 7)
    else:
        with pytest.raises(type(error), match="broken"):
            activation_maps(model, tiny_images, 0, method=method)
    assert state(model) == before


@pytest.mark.parametrize("method", CAMS)
def test_own_hooks_stay(method: str, tiny_model: nets.Classifier, tiny_images: Tensor) -> None:
    seen: list[int] = []
    tiny_model.net.stage3.register_forward_hook(lambda *_: seen.append(1))
    before = state(tiny_model)
    activation_maps(tiny_model, tiny_images[:1], 0, method=method)
    assert state(tiny_model) == before
    assert seen


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_gradient_mode(
    context: Callable[[], object], tiny_model: nets.Classifier, tiny_images: Tensor
) -> None:
    expected = activation_maps(tiny_model, tiny_images, 0)
    with context():  # type: ignore[attr-defined]
        maps = activation_maps(tiny_model, tiny_images + 0, 0)
    np.testing.assert_array_equal(maps, expected)


def test_bfloat16_autocast(tiny_model: nets.Classifier, tiny_images: Tensor) -> None:
    expected = activation_maps(tiny_model, tiny_images, 0)
    with torch.autocast("cpu", torch.bfloat16):
        maps = activation_maps(tiny_model, tiny_images, 0)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, expected, atol=0.05 * expected.max())


@pytest.mark.parametrize("method", CAMS)
def test_progress_and_silence(
    method: str,
    tiny_model: nets.Classifier,
    tiny_images: Tensor,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fractions: list[float] = []

    def progress(fraction: float) -> None:
        assert not tiny_model.net.stage3._forward_hooks  # else masked forwards pile up in memory
        fractions.append(fraction)

    activation_maps(tiny_model, tiny_images, 0, method=method, progress=progress)
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == 1.0
    assert len(fractions) == (12 if method == "scorecam" else 1)  # 6 images, 32 channels by 16
    assert capsys.readouterr() == ("", "")


# --- layers --------------------------------------------------------------------------------------


def test_layers_of_the_small_net(tiny_model: nets.Classifier) -> None:
    assert layer_names(tiny_model, (1, 28, 28)) == SMALLRESNET
    assert layer_names(tiny_model, (6, 1, 28, 28)) == SMALLRESNET
    assert layer_names(tiny_model.net, (1, 28, 28)) == tuple(n[4:] for n in SMALLRESNET)
    small = torch.zeros(1, 1, 4, 4)
    sizes = {name: output_of(tiny_model, name, small).shape[-1] for name in SMALLRESNET}
    assert min(sizes.values()) == 1
    wide = tuple(name for name, size in sizes.items() if size > 1)
    assert layer_names(tiny_model, (1, 4, 4)) == wide
    assert default_layer(tiny_model, (1, 4, 4)) == wide[-1]
    assert default_layer(tiny_model, (1, 28, 28)) == "net.stage3"
    assert state(tiny_model) == state(make_model())


@pytest.mark.parametrize("arch", TORCHVISION)
def test_torchvision_nets(arch: str) -> None:
    torch.manual_seed(0)
    model = nets.Classifier(nets.build(arch, 5, 3), [0.5] * 3, [0.25] * 3)
    x = torch.rand(1, 3, 64, 64)
    before = state(model)
    names = layer_names(model, x.shape)
    assert names[-1] == TORCHVISION[arch] == default_layer(model, x.shape)
    assert 4 <= len(names) <= 19
    for method in [name for name in CAMS if name != "scorecam"]:
        last = activation_maps(model, x, 4, method=method)
        assert last.shape == (1, 2, 2)
        assert last.min() >= 0
    wide = activation_maps(model, x, 4, layer=names[0])
    assert wide.shape[1] > 8
    assert state(model) == before
    hires = activation_maps(model, x, 4, method="hirescam", layer=names[-1])
    grads = _gradient_times_activation(model, names[-1], x, 4)
    np.testing.assert_allclose(hires, grads, rtol=1e-3, atol=1e-7)


def _gradient_times_activation(model: nn.Module, layer: str, x: Tensor, target: int) -> Tensor:
    """relu(Σ_c g_c A_c) with autograd alone: the layer's output is replaced by a leaf."""
    leaf = output_of(model.eval(), layer, x).requires_grad_()
    # + 0: what follows may change its input in place, which a leaf forbids
    handle = model.get_submodule(layer).register_forward_hook(lambda *_: leaf + 0)
    (gradient,) = torch.autograd.grad(model(x)[:, target].sum(), leaf)
    handle.remove()
    return (gradient * leaf.detach()).sum(1).relu()


def test_scorecam_on_many_channels() -> None:
    """mobilenet's 1280 channels go through in batches."""
    torch.manual_seed(0)
    model = nets.Classifier(nets.build("mobilenet_v2", 5, 3), [0.5] * 3, [0.25] * 3)
    fractions: list[float] = []
    x = torch.rand(1, 3, 32, 64)
    maps = activation_maps(model, x, 0, method="scorecam", progress=fractions.append)
    assert maps.shape == (1, 1, 2)
    assert len(fractions) == 1280 / 16


def test_a_net_of_single_operations() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    assert layer_names(net, (1, 8, 8)) == ("0", "1")
    assert activation_maps(net, torch.rand(1, 1, 8, 8), 0).shape == (1, 6, 6)


def test_inner_layers_by_name(tiny_model: nets.Classifier, tiny_images: Tensor) -> None:
    name = next(
        name
        for name, module in tiny_model.net.stage2.named_modules(prefix="net.stage2")
        if isinstance(module, nn.Conv2d)
    )
    maps = activation_maps(tiny_model, tiny_images, 0, layer=name)
    assert maps.shape == (6, *output_of(tiny_model, name, tiny_images).shape[2:])


# --- what is rejected ----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["net.stage9", "net.head", "", "net", "stage3"])
@pytest.mark.parametrize("method", CAMS)
def test_unknown_layer(
    method: str, layer: str, tiny_model: nets.Classifier, tiny_images: Tensor
) -> None:
    with pytest.raises(UnknownName, match=r"unknown layer .*net\.stage1.*net\.stage3"):
        activation_maps(tiny_model, tiny_images, 0, method=method, layer=layer)


def test_a_module_that_runs_twice_has_no_map() -> None:
    model = nets.build("resnet18", 5, 3)
    with pytest.raises(UnknownName, match=r"unknown layer 'layer1\.0\.relu'"):
        activation_maps(model, torch.rand(1, 3, 64, 64), 0, layer="layer1.0.relu")


def test_unknown_method(tiny_model: nets.Classifier, tiny_images: Tensor) -> None:
    with pytest.raises(UnknownName, match=r"'cam'.*'eigencam', 'gradcam'"):
        activation_maps(tiny_model, tiny_images, 0, method="cam")


@pytest.mark.parametrize(
    "target", [10, -1, [0, 1], [0, 1, 2, 3, 4, 10], 0.5, True, [[0] * 6], np.full(6, 1.0)]
)
@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_bad_class(
    method: str, target: int, tiny_model: nets.Classifier, tiny_images: Tensor
) -> None:
    with pytest.raises(InvalidInput, match="target_class"):
        activation_maps(tiny_model, tiny_images, target, method=method)


@pytest.mark.parametrize("shape", [(1, 28, 28), (0, 1, 28, 28)])
def test_bad_input(shape: Shape, tiny_model: nets.Classifier) -> None:
    with pytest.raises(InvalidInput, match=r"\(B, C, H, W\)"):
        activation_maps(tiny_model, torch.zeros(shape), 0)
    with pytest.raises(InvalidInput, match="float"):
        activation_maps(tiny_model, torch.zeros(1, 1, 28, 28, dtype=torch.uint8), 0)


def test_models_without_maps_or_logits(tiny_model: nets.Classifier) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert layer_names(flat, (1, 2, 2)) == ()
    for call in (
        lambda: default_layer(flat, (1, 2, 2)),
        lambda: activation_maps(flat, torch.rand(1, 1, 2, 2), 0),
    ):
        with pytest.raises(InvalidInput, match="larger than 1x1"):
            call()
    with pytest.raises(InvalidInput, match="logits"):
        layer_names(tiny_model.net.get_submodule("stem"), (1, 8, 8))
    with pytest.raises(InvalidInput, match="x_shape"):
        layer_names(tiny_model, (28, 28))


class Detached(nn.Module):
    """Logits that do not depend on the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.side(x)
        return x.mean((2, 3)).expand(-1, 2) * 1.0


def test_layer_beside_the_path() -> None:
    with pytest.raises(InvalidInput, match="do not depend"):
        activation_maps(Detached(), torch.rand(1, 1, 8, 8), 0, layer="side")


# --- border mass ---------------------------------------------------------------------------------


def test_border_mass() -> None:
    assert border_mass(np.ones((4, 4))) == pytest.approx(12 / 16)
    assert border_mass(np.ones((7, 5)), width=2) == pytest.approx(1 - 3 / 35)
    assert border_mass(np.zeros((4, 4))) == 0.0
    assert border_mass(np.ones((2, 2))) == border_mass(np.ones((6, 6)), width=3) == 1.0
    centre = np.zeros((5, 5), dtype=np.float32)
    centre[2, 2] = 1e-6
    assert border_mass(centre) == 0.0
    corner = np.zeros((5, 5), dtype=np.float32)
    corner[0, 4] = 3e7
    assert border_mass(corner) == 1.0
    assert border_mass(corner + centre * 3e13) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "values", [np.ones(4), np.ones((1, 4, 4)), np.ones((0, 4)), -np.ones((3, 3)), [[np.nan]]]
)
def test_border_mass_rejects(values: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="map"):
        border_mass(values)


@pytest.mark.parametrize("width", [0, -1])
def test_border_mass_rejects_width(width: int) -> None:
    with pytest.raises(InvalidInput, match="width"):
        border_mass(np.ones((3, 3)), width=width)
