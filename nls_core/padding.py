"""Convolutions with partial-convolution padding, and the swap that gives them to any module."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from nls_core.errors import InvalidInput, unknown

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
    keys stay, so weights are interchangeable both ways. The convolutions of timm that pad as
    TensorFlow does (`Conv2dSame`) become `PaddedConv2d`, which computes the same.

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
        if type(module).__name__ == "Conv2dSame":  # by name: timm takes 2 s to import
            module.__class__, module.padding = PaddedConv2d, "same"
        if padding == "partial" and type(module) in (nn.Conv2d, PaddedConv2d):
            module.__class__ = PartialConv2d
        elif padding == "zero" and type(module) is PartialConv2d:
            plain = len(module.padding) != 4 and not (
                module.padding == "same" and module.stride != (1, 1)
            )
            module.__class__ = nn.Conv2d if plain else PaddedConv2d  # type: ignore[assignment]
            module.__dict__.pop("_ratios", None)
    return model
