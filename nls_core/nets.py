"""Architectures, partial-convolution padding, and the wrapper that keeps ε in pixel units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torchvision import models as tv

from nls_core.types import InvalidInput, choose, unknown

Pads = tuple[int, int, int, int]  # left, right, top, bottom, as F.pad takes them
_CACHED_SIZES = 16


class PaddedConv2d(nn.Conv2d):
    """`Conv2d` that also takes asymmetric padding, and 'same' with a stride.

    `padding` may be an int, a (vertical, horizontal) pair, (left, right, top, bottom), 'valid',
    or 'same': the output is then ceil(size / stride), the odd entry padded at the end.
    """

    def __init__(  # the signature of Conv2d, keywords for all that it shares
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, ...] | str = 0,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        if self.padding_mode != "zeros":
            raise InvalidInput(f"padding_mode must be 'zeros'; got {self.padding_mode!r}")
        if isinstance(padding, int):
            padding = (padding, padding)
        if padding not in ("same", "valid") and len(padding) not in (2, 4):
            raise InvalidInput(f"padding must be 1, 2 or 4 numbers or 'same'; got {padding!r}")
        self.padding = padding

    def pads(self, height: int, width: int) -> Pads:
        """The padding of a (height, width) input."""
        if self.padding == "same":
            top, bottom = _same(height, self.kernel_size[0], self.stride[0], self.dilation[0])
            left, right = _same(width, self.kernel_size[1], self.stride[1], self.dilation[1])
            return (left, right, top, bottom)
        if isinstance(self.padding, str):  # 'valid'
            return (0, 0, 0, 0)
        if len(self.padding) == 4:
            left, right, top, bottom = self.padding
            return (left, right, top, bottom)
        vertical, horizontal = self.padding
        return (horizontal, horizontal, vertical, vertical)

    def _convolve(self, x: Tensor, bias: Tensor | None, pads: Pads) -> Tensor:
        left, right, top, bottom = pads
        if left == right and top == bottom:  # the kernel pads by itself, without a copy
            own = (top, left)
        else:
            x, own = F.pad(x, pads), (0, 0)
        return F.conv2d(x, self.weight, bias, self.stride, own, self.dilation, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H', W')."""
        return self._convolve(x, self.bias, self.pads(x.shape[-2], x.shape[-1]))


class PartialConv2d(PaddedConv2d):
    """Partial-convolution padding (Liu et al. 2018, arXiv 1811.11718).

    The bias-free convolution is scaled at each output position by (window area) / (valid entries
    in that window), then the bias is added: 1 inside, 1.5 at the edges and 2.25 at the corners of
    a 3x3 kernel with padding 1. Parameters and state_dict are those of `Conv2d`.

    (The code published with arXiv 2012.06876 multiplies the whole input by one scalar, which a
    following batch norm cancels; this is the per-window form.)
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H', W')."""
        height, width = x.shape[-2:]
        pads = self.pads(height, width)
        if self.padding != "same" and not any(pads):
            return self._convolve(x, self.bias, pads)
        out = self._convolve(x, None, pads)
        out = out * self.ratio(height, width, out)
        # out keeps autocast's dtype: a float32 bias would promote it
        return out if self.bias is None else out + self.bias.to(out.dtype).view(-1, 1, 1)

    def ratio(self, height: int, width: int, like: Tensor) -> Tensor:
        """The (H', W') scale of a (height, width) input, on `like`'s device and in its dtype.

        Cached by size, device and dtype. Tracing (torch.export, torch.compile, fake tensors)
        goes past the cache, since a traced tensor must not outlive its trace.
        """
        if torch.compiler.is_compiling() or isinstance(like, FakeTensor):
            return self._ratio(height, width, like)
        cache = self.__dict__.setdefault("_ratios", {})
        key = (height, width, like.device, like.dtype)
        if key not in cache:
            if len(cache) >= _CACHED_SIZES:
                cache.clear()
            with torch.inference_mode(False), torch.no_grad():  # usable in a later backward
                cache[key] = self._ratio(height, width, like)
        return cache[key]  # type: ignore[no-any-return]

    def _ratio(self, height: int, width: int, like: Tensor) -> Tensor:
        left, right, top, bottom = self.pads(height, width)
        rows = self._valid(0, height, (top, bottom), like.device)  # (H',)
        columns = self._valid(1, width, (left, right), like.device)  # (W',)
        area = self.kernel_size[0] * self.kernel_size[1]
        # a window that lies in the padding altogether has sum 0, whatever its scale
        return (area / torch.outer(rows, columns).clamp_min(1.0)).to(like.dtype)

    def _valid(self, axis: int, size: int, pad: tuple[int, int], device: torch.device) -> Tensor:
        """(out,) how many of the kernel's taps along one axis fall inside the input."""
        kernel, stride, dilation = self.kernel_size[axis], self.stride[axis], self.dilation[axis]
        out = (size + sum(pad) - dilation * (kernel - 1) - 1) // stride + 1
        start = torch.arange(out, device=device) * stride - pad[0]
        taps = start[:, None] + torch.arange(kernel, device=device) * dilation  # (out, kernel)
        return ((taps >= 0) & (taps < size)).sum(1).float()


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


PADDINGS = ("zero", "partial")


def with_padding(model: nn.Module, padding: str) -> nn.Module:
    """Switch every zero-padded convolution of a model to the given padding, in place.

    Only the type of the convolutions changes: parameters, buffers, hooks, flags and state_dict
    keys stay, so weights are interchangeable both ways.

    Args:
        model: any module; convolutions with another `padding_mode` are left alone.
        padding: 'zero' or 'partial'.

    Returns:
        The same model.

    Raises:
        InvalidInput: an unknown padding.
    """
    if padding not in PADDINGS:
        raise InvalidInput(unknown("padding", padding, PADDINGS))
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros":
            continue
        if padding == "partial" and type(module) in (nn.Conv2d, PaddedConv2d):
            module.__class__ = PartialConv2d
        elif padding == "zero" and type(module) is PartialConv2d:
            plain = len(module.padding) != 4 and not (
                module.padding == "same" and module.stride != (1, 1)
            )
            module.__class__ = nn.Conv2d if plain else PaddedConv2d  # type: ignore[assignment]
            module.__dict__.pop("_ratios", None)
    return model


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """The residual net for 28 and 32 pixels: a 3x3 stem and three blocks.

    Widths are w, 2w, 4w, 4w; for a 28-pixel input the maps are 28 pixels wide after the stem and
    14, 7 and 7 after the blocks: halving early costs little accuracy on small images and is fast
    on a CPU, and the last maps stay large enough to show where the model looks.
    """

    def __init__(self, classes: int, channels: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stage1 = Block(width, 2 * width, 2)
        self.stage2 = Block(2 * width, 4 * width, 2)
        self.stage3 = Block(4 * width, 4 * width, 1)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, classes)."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def _torchvision(build: Callable[..., nn.Module]) -> Callable[[int, int], nn.Module]:
    def make(classes: int, channels: int) -> nn.Module:
        return _with_channels(build(weights=None, num_classes=classes), channels)

    return make


def _with_channels(model: nn.Module, channels: int) -> nn.Module:
    """Replace the first convolution by one with another number of input channels."""
    name, conv = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels != channels:
        parent, _, attribute = name.rpartition(".")
        first = nn.Conv2d(
            channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            bias=conv.bias is not None,
        )
        setattr(model.get_submodule(parent), attribute, first)
    return model


ARCHITECTURES: dict[str, Callable[[int, int], nn.Module]] = {
    "smallresnet-8": lambda classes, channels: SmallResNet(classes, channels, width=8),
    "smallresnet-16": lambda classes, channels: SmallResNet(classes, channels, width=16),
    "smallresnet-24": lambda classes, channels: SmallResNet(classes, channels, width=24),
    "resnet18": _torchvision(tv.resnet18),
    "resnet34": _torchvision(tv.resnet34),
    "resnet50": _torchvision(tv.resnet50),
    "densenet121": _torchvision(tv.densenet121),
    "mobilenet_v2": _torchvision(tv.mobilenet_v2),
    "efficientnet_b0": _torchvision(tv.efficientnet_b0),
}


def build(arch: str, classes: int, channels: int, padding: str = "zero") -> nn.Module:
    """A freshly initialized network from (B, channels, H, W) to (B, classes) logits.

    Raises:
        UnknownName: no such architecture.
        InvalidInput: an unknown padding, or counts below 2 classes or 1 channel.
    """
    if classes < 2 or channels < 1:
        raise InvalidInput(f"expected ≥ 2 classes and ≥ 1 channels; got {classes} and {channels}")
    return with_padding(choose("architecture", arch, ARCHITECTURES)(classes, channels), padding)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and weights without gradient; on leaving, every flag is as before."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        model.eval()
        model.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training  # train() recurses and may be overridden
        for weight, flag in flags:
            weight.requires_grad_(flag)


class Classifier(nn.Module):
    """A network with its normalization inside: x in [0, 1] (B, C, H, W) -> logits (B, K).

    Attacks and maps see this module, so that ε is always in pixel units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        # not part of the weights: the manifest holds them
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, K) logits."""
        return self.net((x - self.mean) / self.std)  # type: ignore[no-any-return]
