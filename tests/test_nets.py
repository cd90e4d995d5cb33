"""Partial convolution against direct sums, the padding swap, and every architecture."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from nls_core import nets
from nls_core.cams import activation_maps, default_layer, layer_shapes
from nls_core.errors import InvalidInput, UnknownName
from nls_core.nets import (
    ARCHITECTURES,
    GroupedLinear,
    PaddedConv2d,
    PartialConv2d,
    build,
    with_padding,
)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def direct(conv: PaddedConv2d, x: Tensor, partial: bool) -> Tensor:
    """The definition, window by window: Σ over valid taps, times area over their number."""
    left, right, top, bottom = conv.pads(*x.shape[-2:])
    kernel = conv.kernel_size
    area = kernel[0] * kernel[1]
    padded = F.pad(x, (left, right, top, bottom))
    valid = F.pad(torch.ones_like(x[:1, :1]), (left, right, top, bottom))
    options = {"dilation": conv.dilation, "stride": conv.stride}
    taps = F.unfold(padded, kernel, **options).unflatten(1, (x.shape[1], area))  # (B, C, area, L)
    count = F.unfold(valid, kernel, **options).sum(1)[0]  # (L,)
    group = x.shape[1] // conv.groups
    out = []
    for k, weight in enumerate(conv.weight.flatten(2)):  # (C / groups, area)
        first = k // (conv.out_channels // conv.groups) * group
        total = (taps[:, first : first + group] * weight[None, :, :, None]).sum((1, 2))  # (B, L)
        scaled = total * area / count.clamp_min(1) if partial else total
        out.append(scaled + (conv.bias[k] if conv.bias is not None else 0))
    span = [p - d * (k - 1) - 1 for p, d, k in zip(padded.shape[-2:], conv.dilation, kernel)]  # noqa: B905
    size = [s // step + 1 for s, step in zip(span, conv.stride)]  # noqa: B905
    return torch.stack(out, 1).unflatten(2, size)


sizes = st.integers(1, 4)
paddings = st.one_of(
    st.integers(0, 3),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.sampled_from(["same", "valid"]),
)


@settings(max_examples=80, deadline=None)
@given(
    kernel=st.tuples(sizes, sizes),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=paddings,
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
)
def test_it_is_the_direct_sum_over_windows(*, kernel, stride, dilation, padding, groups, bias):  # type: ignore[no-untyped-def]
    for kind in (PaddedConv2d, PartialConv2d):
        conv = kind(
            2, 4, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias
        ).double()
        x = torch.randn(2, 2, 9, 8, dtype=torch.float64)
        wanted = direct(conv, x, partial=kind is PartialConv2d)
        torch.testing.assert_close(conv(x), wanted)


@pytest.mark.parametrize("bias", [False, True])
def test_a_constant_input_gives_a_constant_output_up_to_the_border(bias: bool) -> None:
    conv = PartialConv2d(3, 5, 3, padding=1, bias=bias).double()
    weight = conv.weight.detach()
    conv.weight.data = weight.mean((2, 3), keepdim=True).expand_as(weight).contiguous()
    out = conv(torch.ones(1, 3, 7, 6, dtype=torch.float64))
    torch.testing.assert_close(out, out[..., 3:4, 3:4].expand_as(out))
    plain = with_padding(conv, "zero")(torch.ones(1, 3, 7, 6, dtype=torch.float64))
    assert (plain[..., 0, 0] - plain[..., 3, 3]).abs().max() > 1e-3


def test_the_interior_equals_conv2d_and_the_ratios_are_the_known_ones() -> None:
    plain = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    partial = with_padding(copy.deepcopy(plain), "partial")
    x = torch.randn(2, 2, 8, 8)
    torch.testing.assert_close(partial(x)[..., 1:-1, 1:-1], plain(x)[..., 1:-1, 1:-1])
    ratio = partial.ratio(8, 8, x)
    assert ratio[0, 0] == ratio[-1, -1] == 2.25
    assert (ratio[0, 1:-1] == 1.5).all()
    assert (ratio[1:-1, 1:-1] == 1).all()


def test_the_ratio_is_cached_by_size_and_dtype_and_the_cache_is_bounded() -> None:
    conv = PartialConv2d(1, 1, 3, padding=1)
    first = conv.ratio(5, 5, torch.ones(1))
    assert conv.ratio(5, 5, torch.ones(1)) is first
    assert conv.ratio(5, 6, torch.ones(1)).shape == (5, 6)
    assert conv.ratio(5, 5, torch.ones(1, dtype=torch.bfloat16)).dtype == torch.bfloat16
    for size in range(3, 60):
        conv.ratio(size, size, torch.ones(1))
    assert conv.ratio(5, 5, torch.ones(1)) is not first  # not kept for good


@pytest.mark.parametrize("padding", ["same", 1, (0, 3, 2, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scaling_the_border_alone_is_scaling_all(padding: object, dtype: torch.dtype) -> None:
    """Without a gradient only the border of large maps is touched; with one, all."""
    conv = PartialConv2d(1, 64, 3, stride=2, padding=padding, bias=True).to(dtype)  # type: ignore[arg-type]
    for shape in ((4, 1, 64, 48), (1, 1, 9, 8), (2, 1, 97, 61), (8, 1, 64, 48)):
        x = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)
        everywhere = conv(x)
        assert everywhere.requires_grad
        with torch.no_grad():
            assert torch.equal(conv(x), everywhere)


@pytest.mark.parametrize("kernel", [3, 5])
def test_taps_of_weight_0_pad_as_a_padded_copy_does(kernel: int) -> None:
    conv = PaddedConv2d(32, 32, kernel, 2, "same", groups=32, bias=False).double()
    x = torch.randn(2, 32, 56, 56, requires_grad=True, dtype=torch.float64)
    padded = F.conv2d(F.pad(x, conv.pads(56, 56)), conv.weight, None, 2, groups=32)
    assert conv.pads(56, 56)[0] != conv.pads(56, 56)[1]
    torch.testing.assert_close(conv(x), padded)
    above = torch.randn_like(padded)
    wanted = torch.autograd.grad(padded, (x, conv.weight), above)
    torch.testing.assert_close(torch.autograd.grad(conv(x), (x, conv.weight), above), wanted)


def test_a_cache_made_in_inference_mode_serves_a_later_backward() -> None:
    conv = PartialConv2d(1, 2, 3, padding=1)
    x = torch.randn(1, 1, 6, 6)
    with torch.inference_mode():
        conv(x)
    conv(x.requires_grad_()).sum().backward()
    assert x.grad is not None
    assert conv.weight.grad is not None


def test_gradients_are_those_of_finite_differences() -> None:
    conv = PartialConv2d(1, 2, 3, stride=2, padding=(1, 0, 2, 1)).double()
    x = torch.randn(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, (x,))


def test_autocast_keeps_its_dtype() -> None:
    conv = PartialConv2d(1, 2, 3, padding=1, bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.randn(1, 1, 6, 6)).dtype == torch.bfloat16


@pytest.mark.parametrize("dynamic", [False, True])
def test_export_keeps_the_values_and_leaves_no_fake_tensor(dynamic: bool) -> None:
    net = nn.Sequential(PartialConv2d(1, 3, 3, stride=2, padding=1), nn.ReLU()).eval()
    x = torch.randn(2, 1, 12, 10)
    edges = {2: torch.export.Dim("h", min=4, max=64), 3: torch.export.Dim("w", min=4, max=64)}
    exported = torch.export.export(net, (x,), dynamic_shapes=(edges,) if dynamic else None)
    torch.testing.assert_close(exported.module()(x), net(x))
    if dynamic:
        other = torch.randn(2, 1, 9, 14)
        torch.testing.assert_close(exported.module()(other), net(other))
    assert not isinstance(net.get_submodule("0").ratio(12, 10, x), FakeTensor)


def five_steps(padding: str, epsilon: float) -> tuple[Tensor, float]:
    """Training-mode logits (32, 10) of a fresh net, and its loss after five steps, in float64.

    `epsilon` is what its batch norms add to a variance.
    """
    torch.manual_seed(0)
    net = build("smallresnet-8", 10, 1, padding).double().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon
    x, y = torch.randn(32, 1, 28, 28, dtype=torch.float64), torch.arange(32) % 10
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=1e-6)
    first = net(x).detach()
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return first, nn.functional.cross_entropy(net(x), y).item()


@pytest.mark.parametrize(("epsilon", "logits", "loss"), [(1e-5, 1e-4, 1e-4), (1e-13, 1e-9, 1e-9)])
def test_batch_norm_cancels_the_authors_partial_convolution(
    epsilon: float, logits: float, loss: float
) -> None:
    """All that is left is what the norm adds to a variance: without it nothing differs."""
    zero, authors, partial = (
        five_steps(padding, epsilon) for padding in ("zero", "partial-authors", "partial")
    )
    assert (authors[0] - zero[0]).abs().max() < logits
    assert abs(authors[1] - zero[1]) < loss
    assert (partial[0] - zero[0]).abs().max() > 0.05
    assert abs(partial[1] - zero[1]) > 1e-3


@pytest.mark.parametrize("size", [(28, 28), (5, 9)])
def test_the_authors_scale_is_the_padded_area_over_the_area(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    conv = nn.Conv2d(3, 4, 3, padding=1).double()
    bare = nn.functional.conv2d(x, conv.weight, None, padding=1)
    scale = (size[0] + 2) * (size[1] + 2) / (size[0] * size[1])
    bias = conv.bias
    assert bias is not None
    wanted = scale * bare + bias.view(-1, 1, 1)
    torch.testing.assert_close(with_padding(conv, "partial-authors")(x), wanted)
    pointwise = nn.Conv2d(3, 4, 1).double()
    plain = pointwise(x)
    assert torch.equal(with_padding(pointwise, "partial-authors")(x), plain)


def test_every_padding_turns_into_every_other() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1)
    x = torch.rand(1, 1, 5, 5)
    each = {padding: with_padding(conv, padding)(x) for padding in nets.PADDINGS}
    for first in nets.PADDINGS:
        for second in nets.PADDINGS:
            with_padding(conv, first)(x)
            assert torch.equal(with_padding(conv, second)(x), each[second])
    assert type(with_padding(conv, "zero")) is nn.Conv2d


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_without_the_pool_the_last_map_is_twice_as_wide(name: str) -> None:
    wanted = {name: 7, f"{name}-no-pool": 14}
    got: dict[str, int] = {}
    with torch.device("meta"):  # shapes alone
        for arch in wanted:
            net = build(arch, 10, 3)
            net.get_submodule("layer4").register_forward_hook(
                lambda _, __, out, arch=arch: got.update({arch: out.shape[-1]})
            )
            assert net(torch.rand(1, 3, 224, 224)).shape == (1, 10)
    assert got == wanted
    with_pool, without = (build(arch, 10, 3).state_dict() for arch in wanted)
    assert with_pool.keys() == without.keys()


@pytest.mark.parametrize("padding", nets.PADDINGS)
@pytest.mark.parametrize("arch", ["smallresnet-16", "resnet18", "mobilenet_v2"])
def test_every_tensor_is_made_on_the_inputs_device(arch: str, padding: str) -> None:
    with FakeTensorMode():
        with torch.device("cuda"):  # for the weights only: the forward must not rely on it
            model = nets.Classifier(build(arch, 10, 3, padding), [0.5] * 3, [0.2] * 3).eval()
        out = model(torch.rand(2, 3, 64, 64, device="cuda"))
    assert out.device.type == "cuda"
    assert out.shape == (2, 10)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_trains_both_ways_with_the_same_weights(arch: str) -> None:
    edge, channels = (28, 1) if arch.startswith("smallresnet") else (64, 2)
    net = build(arch, 7, channels)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.randn(2, channels, edge, edge)
    net.eval()
    plain = net(x)
    assert with_padding(net, "partial") is net
    assert any(isinstance(m, PartialConv2d) for m in net.modules())
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    partial = net(x)
    assert partial.shape == (2, 7)
    assert not torch.equal(partial, plain)
    fresh = build(arch, 7, channels, "partial").eval()
    fresh.load_state_dict(before)
    torch.testing.assert_close(fresh(x), partial)
    assert torch.equal(with_padding(net, "zero")(x), plain)
    for padding in nets.PADDINGS:
        with_padding(net, padding).train()
        net.zero_grad()
        net(x).square().sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def shaken(net: nn.Module) -> nn.Module:
    """Batch norms with statistics and weights of some training."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                assert values is not None
                values.uniform_(low, high)
    return net.eval()


@pytest.mark.parametrize("padding", nets.PADDINGS)
@pytest.mark.parametrize("arch", ["smallresnet-8", "resnet18", "mobilenet_v2"])
def test_folded_norms_change_neither_answers_nor_gradients_nor_maps(
    arch: str, padding: str
) -> None:
    edge, channels = (28, 1) if arch.startswith("smallresnet") else (64, 3)
    torch.manual_seed(4)
    model = shaken(build(arch, 7, channels, padding)).requires_grad_(False)
    x = torch.rand(2, channels, edge, edge)
    quick = nets.folded(model, x)
    assert quick is not model
    assert not any(isinstance(m, nn.BatchNorm2d) or m.training for m in quick.modules())
    assert not any(weight.requires_grad for weight in quick.parameters())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    gradients: list[Tensor] = []
    for each in (model, quick):
        inputs = x.clone().requires_grad_()
        gradients += torch.autograd.grad(each(inputs).square().sum(), inputs)
    # where a ReLU is at its kink a last digit decides
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 0.01
    layer = default_layer(model, (channels, edge, edge))
    plain, same = (activation_maps(each, x, 3, layer=layer) for each in (model, quick))
    assert np.abs(same - plain).max() <= 1e-4 * plain.max()


def test_norms_that_do_not_follow_their_neighbour_stay() -> None:
    class Crossed(nn.Module):
        """The norm is registered behind the convolution, and runs before it."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.norm(x)).mean((2, 3))  # type: ignore[no-any-return, unused-ignore]

    model = shaken(Crossed())
    assert nets.folded(model, torch.rand(2, 3, 8, 8)) is model


@pytest.mark.parametrize("edge", [28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_small_net_takes_28_and_32_pixels(edge: int, channels: int) -> None:
    net = build("smallresnet-8", 10, channels).eval()
    assert net(torch.rand(2, channels, edge, edge)).shape == (2, 10)
    assert (
        net.stage3(net.stage2(net.stage1(net.stem(torch.rand(1, channels, edge, edge))))).shape[-1]
        == edge // 4
    )


def test_copies_and_pickles_of_converted_models_work() -> None:
    net = build("smallresnet-8", 10, 1, "partial").eval()
    x = torch.rand(1, 1, 28, 28)
    wanted = net(x)
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(net), torch.load(buffer, weights_only=False)):
        assert torch.equal(other(x), wanted)


def test_hooks_and_other_convolutions_are_left_alone() -> None:
    reflect = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), reflect)
    seen: list[int] = []
    net[0].register_forward_hook(lambda *_: seen.append(1))
    with_padding(net, "partial")(torch.rand(1, 1, 5, 5))
    assert type(net[0]) is PartialConv2d
    assert type(net[1]) is nn.Conv2d
    assert seen == [1]


@pytest.mark.parametrize("padding", ["same", (1, 2, 0, 1)])
def test_paddings_that_conv2d_lacks_survive_the_way_back(padding: object) -> None:
    conv = PartialConv2d(1, 1, 4, stride=2, padding=padding)  # type: ignore[arg-type]
    back = with_padding(conv, "zero")
    assert type(back) is PaddedConv2d
    assert with_padding(back, "partial") is conv
    assert type(conv) is PartialConv2d


@pytest.mark.parametrize("size", [(9, 8), (8, 12), (7, 7)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 1), (2, 3)])
def test_timms_same_convolutions_are_the_direct_sum(
    kernel: int, stride: int, size: tuple[int, int]
) -> None:
    same = Conv2dSame(2, 4, kernel, stride, groups=2).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    own = same(x)
    partial = with_padding(same, "partial")
    assert type(partial) is PartialConv2d
    torch.testing.assert_close(partial(x), direct(partial, x, partial=True))
    # the padding depends on the size of each input, and so does the ratio
    other = torch.randn(1, 2, size[0] + 3, size[1] + 1, dtype=torch.float64)
    torch.testing.assert_close(partial(other), direct(partial, other, partial=True))
    back = with_padding(partial, "zero")
    torch.testing.assert_close(back(x), own)
    torch.testing.assert_close(own, direct(back, x, partial=False))  # type: ignore[arg-type]


def test_a_stride_2_same_window_at_the_end_has_its_known_ratio() -> None:
    conv = with_padding(Conv2dSame(1, 1, 3, 2, bias=False), "partial")
    assert isinstance(conv, PartialConv2d)
    ratio = conv.ratio(224, 224, torch.ones(1))  # TensorFlow pads one row, at the bottom
    assert ratio.shape == (112, 112)
    assert (ratio[:-1, :-1] == 1).all()
    assert ratio[-1, 0] == ratio[0, -1] == 1.5
    assert ratio[-1, -1] == 2.25


@pytest.mark.parametrize("channels", [1, 3])
def test_efficientnet_lite0_is_timms(channels: int) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=8, in_chans=channels)
    own = nets.build(nets.LITE0, 8, channels)
    assert list(own.state_dict()) == list(theirs.state_dict())  # weights are matched by their order
    theirs = with_padding(theirs, "zero")  # the same convolutions: the sums are then the same
    own.load_state_dict(theirs.state_dict())
    x = torch.rand(2, channels, 64, 64)
    for training in (True, False):  # eval: with the statistics of the step before
        assert torch.equal(own.train(training)(x), theirs.train(training)(x))
    sizes = (channels, 64, 64)
    assert layer_shapes(own, sizes) == layer_shapes(theirs, sizes)  # what people may ask for
    spread = [net.conv_head.weight.std().item() for net in (nets.build(nets.LITE0, 8, 3), theirs)]
    assert spread[0] == pytest.approx(spread[1], rel=0.02)


def test_a_class_of_several_rows_has_their_log_mean_exp() -> None:
    head = GroupedLinear(3, 5, 2).double()
    head.owner.copy_(torch.tensor([0, 0, 1, 1, 1]))
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = head.rows(x)
    wanted = [rows[:, :2].exp().mean(1).log(), rows[:, 2:].exp().mean(1).log()]
    torch.testing.assert_close(head(x), torch.stack(wanted, 1))
    head(x).square().sum().backward()
    assert head.rows.weight.grad is not None
    assert head.rows.weight.grad.isfinite().all()
    assert head.rows.weight.grad.abs().sum(1).min() > 0  # every row learns
    many = torch.full((1, 3), 1e4, dtype=torch.float64)
    assert head(many).isfinite().all()


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match="unknown padding 'mirror'"):
        with_padding(nn.Conv2d(1, 1, 3), "mirror")
    with pytest.raises(InvalidInput, match="padding_mode must be 'zeros'"):
        PartialConv2d(1, 1, 3, padding_mode="reflect")
    with pytest.raises(InvalidInput, match="1, 2 or 4 numbers"):
        PartialConv2d(1, 1, 3, padding=(1, 2, 3))
    with pytest.raises(UnknownName, match="unknown architecture 'vgg'"):
        build("vgg", 10, 1)
    with pytest.raises(InvalidInput, match="got 1 and 3"):
        build("resnet18", 1, 3)


def test_the_classifier_normalizes_inside() -> None:
    net = build("smallresnet-8", 10, 1).eval()
    model = nets.Classifier(net, [0.3], [0.5]).eval()
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(model(x), net((x - 0.3) / 0.5))
    assert set(model.state_dict()) == {f"net.{name}" for name in net.state_dict()}


def test_frozen_restores_every_flag_even_after_an_error() -> None:
    net = build("smallresnet-8", 10, 1).train()
    net.stage1.eval()
    net.head.bias.requires_grad_(False)
    flags = [(m.training, [p.requires_grad for p in m.parameters()]) for m in net.modules()]
    inside: list[bool] = []

    def fail() -> None:
        with nets.frozen(net):
            inside.extend(m.training for m in net.modules())
            inside.extend(p.requires_grad for p in net.parameters())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert inside
    assert not any(inside)
    after = [(m.training, [p.requires_grad for p in m.parameters()]) for m in net.modules()]
    assert after == flags
