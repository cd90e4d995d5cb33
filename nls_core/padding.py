"""Convolutions with partial-convolution padding, and the swap that gives them to any module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from nls_core.errors import InvalidInput, unknown

Pads = tuple[int, int, int, int]  # left, right, top, bottom, as F.pad takes them
T = TypeVar("T")
_CACHED_SIZES = 16
_CACHES = ("_ratios", "_layouts", "_borders")  # of a `PartialConv2d`, in its __dict__
_LARGE = 2**17  # entries of a map from which on its border alone is cheaper to scale


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
        weight, own = self.weight, (bottom, right)  # the kernel pads by itself, without a copy
        if left != right or top != bottom:
            begin = (right - left, bottom - top)
            if self.groups > 1 and self.dilation == (1, 1) and min(begin) >= 0:
                # the same windows begin earlier, with taps of weight 0: the same sums, and for
                # depthwise convolutions several times as fast as a padded copy of x
                weight = F.pad(weight, (begin[0], 0, begin[1], 0))
            else:
                x, own = F.pad(x, pads), (0, 0)
        return F.conv2d(x, weight, bias, self.stride, own, self.dilation, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H', W')."""
        return self._convolve(x, self.bias, self.pads(x.shape[-2], x.shape[-1]))


class PartialConv2d(PaddedConv2d):
    """Partial-convolution padding (Liu et al. 2018, arXiv 1811.11718).

    The bias-free convolution is scaled at each output position by (window area) / (valid entries
    in that window), then the bias is added: 1 inside, 1.5 at the edges and 2.25 at the corners of
    a 3x3 kernel with padding 1. Parameters and state_dict are those of `Conv2d`.

    (The code published with arXiv 2012.06876 has another form: `AuthorsConv2d`.)
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H', W')."""
        height, width = x.shape[-2:]
        pads = self.pads(height, width)
        if self.padding != "same" and not any(pads):
            return self._convolve(x, self.bias, pads)
        out = self._scale(self._convolve(x, None, pads), height, width)
        # out keeps autocast's dtype: a float32 bias would promote it
        return out if self.bias is None else out.add_(self.bias.to(out.dtype).view(-1, 1, 1))

    def _scale(self, out: Tensor, height: int, width: int) -> Tensor:
        """`out` times its ratio, in place: nobody else has seen it yet."""
        if _traced(out):
            return out * self.ratio(height, width, out)
        if out.requires_grad or out.numel() < _LARGE:
            return out.mul_(self._cached("_layouts", (height, width), out, self._layout))
        # only the border's ratio is not 1; as views they would make a backward slow
        for rows, columns, ratio in self._cached("_borders", (height, width), out, self._border):
            out[..., rows, columns].mul_(ratio)
        return out

    def ratio(self, height: int, width: int, like: Tensor) -> Tensor:
        """The (H', W') scale of a (height, width) input, on `like`'s device and in its dtype.

        Cached by size, device and dtype. Tracing (torch.export, torch.compile, fake tensors)
        goes past the cache, since a traced tensor must not outlive its trace.
        """
        if _traced(like):
            return self._ratio(height, width, like)
        return self._cached("_ratios", (height, width), like, self._ratio)

    def _cached(
        self, name: str, size: tuple[int, int], like: Tensor, make: Callable[[int, int, Tensor], T]
    ) -> T:
        cache: dict[tuple[Any, ...], T] = self.__dict__.setdefault(name, {})
        key = (*size, like.device, like.dtype)
        if key not in cache:
            if len(cache) >= _CACHED_SIZES:
                cache.clear()
            with torch.inference_mode(False), torch.no_grad():  # usable in a later backward
                cache[key] = make(*size, like)
        return cache[key]

    def _layout(self, height: int, width: int, like: Tensor) -> Tensor:
        """The ratio as it multiplies fastest: in half precision not broadcast over channels."""
        ratio = self.ratio(height, width, like)
        if like.dtype == torch.float32:
            return ratio
        full = ratio.expand(1, like.shape[1], -1, -1)
        channels_last = like.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return full.contiguous(memory_format=layout)

    def _border(self, height: int, width: int, like: Tensor) -> list[tuple[slice, slice, Tensor]]:
        """The strips of (H', W') whose ratio is not 1: rows, columns, and the ratio there."""
        ratio = self.ratio(height, width, like)
        inner = (ratio == 1).nonzero()  # a rectangle, since rows and columns are independent
        if not len(inner):
            return [(slice(None), slice(None), ratio)]
        (top, left), (bottom, right) = inner[0].tolist(), inner[-1].tolist()
        middle, (end, edge) = slice(top, bottom + 1), ratio.shape
        strips = [(rows, slice(None)) for rows in _outside(top, bottom, end)]
        strips += [(middle, columns) for columns in _outside(left, right, edge)]
        return [(rows, columns, ratio[rows, columns]) for rows, columns in strips]

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


class AuthorsConv2d(PaddedConv2d):
    """The partial convolution of the code published with arXiv 2012.06876 (uppalutkarsh).

    The whole input is multiplied by one scalar, (padded area) / (area), and padded with zeros. A
    batch norm that follows without anything between divides it out again, so that training is that
    of zero padding up to the norm's 1e-5. (A convolution of stride 2 is padded at its beginning
    alone there, which is the same for maps of an even size.)
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H', W')."""
        height, width = x.shape[-2:]
        left, right, top, bottom = self.pads(height, width)
        scale = (height + top + bottom) * (width + left + right) / (height * width)
        return self._convolve(x * scale, self.bias, (left, right, top, bottom))


def _outside(first: int, last: int, size: int) -> list[slice]:
    """What of range(size) lies outside first..last; one entry on each side are one slice."""
    if first == 1 and last == size - 2:
        return [slice(0, None, size - 1)]
    return [part for part in (slice(0, first), slice(last + 1, size)) if part.start < part.stop]


def _traced(like: Tensor) -> bool:
    """Whether what is made now belongs to a trace, and must not outlive it."""
    return torch.compiler.is_compiling() or isinstance(like, FakeTensor)


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


KINDS: dict[str, type[PaddedConv2d]] = {"partial": PartialConv2d, "partial-authors": AuthorsConv2d}
PADDINGS = ("zero", *KINDS)


def with_padding(model: nn.Module, padding: str) -> nn.Module:
    """Switch every zero-padded convolution of a model to the given padding, in place.

    Only the type of the convolutions changes: parameters, buffers, hooks, flags and state_dict
    keys stay, so weights are interchangeable both ways. The convolutions of timm that pad as
    TensorFlow does (`Conv2dSame`) become `PaddedConv2d`, which computes the same.

    Args:
        model: any module; convolutions with another `padding_mode` are left alone.
        padding: of `PADDINGS`.

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
        if padding in KINDS and type(module) in (nn.Conv2d, PaddedConv2d, *KINDS.values()):
            module.__class__ = KINDS[padding]
        elif padding == "zero" and type(module) in KINDS.values():
            plain = len(module.padding) != 4 and not (
                module.padding == "same" and module.stride != (1, 1)
            )
            module.__class__ = nn.Conv2d if plain else PaddedConv2d
        if type(module) is not PartialConv2d:
            for name in _CACHES:
                module.__dict__.pop(name, None)
    return model
