"""Architectures, and the wrapper that keeps ε in pixel units."""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nls_core.efficientnet import EfficientNetLite0
from nls_core.errors import ExtraMissing, InvalidInput, UnknownName, unknown
from nls_core.padding import PADDINGS, PaddedConv2d, PartialConv2d, with_padding

__all__ = ["ARCHITECTURES", "PADDINGS", "Block", "Classifier", "PaddedConv2d", "PartialConv2d"]
__all__ += ["SmallResNet", "architecture", "build", "folded", "frozen", "is_known", "with_padding"]

Maker = Callable[[int, int], nn.Module]  # of classes and channels


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


def _torchvision(name: str) -> Maker:
    def make(classes: int, channels: int) -> nn.Module:
        from torchvision import models  # noqa: PLC0415 - 160 MB that served models do not need

        return _with_channels(getattr(models, name)(weights=None, num_classes=classes), channels)

    return make


def _without_pool(name: str) -> Maker:
    """A ResNet without the max-pool behind its stem: 14x14 last maps of 224 pixels, not 7x7.

    As in the code published with arXiv 2012.06876; it computes four times as much.
    """

    def make(classes: int, channels: int) -> nn.Module:
        model = _torchvision(name)(classes, channels)
        model.add_module("maxpool", nn.Identity())
        return model

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


class GroupedLinear(nn.Module):
    """A linear layer of several rows per class; a class's logit is the log-mean-exp of its rows'.

    So a class may be many things (a dog or a fish), as one row per class could not express.
    `owner` (rows,) int64 says whose each row is; fresh, the rows are dealt out in turn.
    """

    owner: Tensor

    def __init__(self, features: int, rows: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.rows = nn.Linear(features, rows)
        # never on `meta`, where a remainder loads torch's compiler: 2 s and 160 MB
        self.register_buffer("owner", torch.arange(rows, device="cpu") % classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, features) -> (B, classes)."""
        own = self.owner == torch.arange(self.classes, device=self.owner.device)[:, None]  # (K, R)
        rows: Tensor = self.rows(features)[:, None, :].masked_fill(~own, -torch.inf)  # (B, K, R)
        return rows.logsumexp(2) - own.sum(1).to(rows.dtype).log()


ROWS = 859  # of ImageNet's 1,000 categories that belong to a class of `everyday-objects`


def efficientnet_lite0_grouped(classes: int, channels: int) -> nn.Module:
    """EfficientNet-Lite0 with a `GroupedLinear` head of `ROWS` rows."""
    model = EfficientNetLite0(classes, channels)
    model.classifier = GroupedLinear(EfficientNetLite0.FEATURES, ROWS, classes)
    return model


LITE0 = "efficientnet-lite0"

ARCHITECTURES: dict[str, Maker] = {
    "smallresnet-8": lambda classes, channels: SmallResNet(classes, channels, width=8),
    "smallresnet-16": lambda classes, channels: SmallResNet(classes, channels, width=16),
    "smallresnet-24": lambda classes, channels: SmallResNet(classes, channels, width=24),
    "resnet18": _torchvision("resnet18"),
    "resnet34": _torchvision("resnet34"),
    "resnet50": _torchvision("resnet50"),
    "resnet18-no-pool": _without_pool("resnet18"),
    "resnet34-no-pool": _without_pool("resnet34"),
    "resnet50-no-pool": _without_pool("resnet50"),
    "densenet121": _torchvision("densenet121"),
    "mobilenet_v2": _torchvision("mobilenet_v2"),
    "efficientnet_b0": _torchvision("efficientnet_b0"),
    LITE0: EfficientNetLite0,
    f"{LITE0}-grouped": efficientnet_lite0_grouped,
}


def _any_of_torchvision(name: str) -> Maker:
    from torchvision import models  # noqa: PLC0415 - see `_torchvision`

    _check_listed("torchvision", name, models.list_models(module=models))
    return _torchvision(name)


def _any_of_timm(name: str) -> Maker:
    try:
        import timm  # noqa: PLC0415 - takes 2 s
    except ImportError as error:
        raise ExtraMissing(f"timm:{name} is a network of timm", "timm") from error
    _check_listed("timm", name.partition(".")[0], timm.list_models())
    return lambda classes, channels: timm.create_model(
        name, pretrained=False, num_classes=classes, in_chans=channels
    )


def _check_listed(library: str, name: str, listed: Sequence[str]) -> None:
    if name not in listed:
        near = difflib.get_close_matches(name, listed, n=5) or listed[:5]
        raise UnknownName(
            f"unknown network {name!r}; {library} has {len(listed)}, among them {list(near)}"
        )


# `<library>:<name>` is any classifier of these
LIBRARIES: dict[str, Callable[[str], Maker]] = {
    "timm": _any_of_timm,
    "torchvision": _any_of_torchvision,
}
NAMES = (*ARCHITECTURES, *(f"{library}:NAME" for library in LIBRARIES))  # as people are told
_OF_LIBRARY = re.compile(rf"({'|'.join(LIBRARIES)}):[\w.-]{{1,100}}")


def is_known(arch: str) -> bool:
    """Whether an architecture is in `ARCHITECTURES`, or has the form of one of `LIBRARIES`."""
    return arch in ARCHITECTURES or _OF_LIBRARY.fullmatch(arch) is not None


def architecture(arch: str) -> Maker:
    """What makes networks of an architecture.

    Raises:
        UnknownName: there is none of that name.
        ExtraMissing: its library is not installed.
    """
    if _OF_LIBRARY.fullmatch(arch):
        library, _, name = arch.partition(":")
        return LIBRARIES[library](name)
    if arch not in ARCHITECTURES:
        raise UnknownName(unknown("architecture", arch, NAMES))
    return ARCHITECTURES[arch]


def build(arch: str, classes: int, channels: int, padding: str = "zero") -> nn.Module:
    """A freshly initialized network from (B, channels, H, W) to (B, classes) logits.

    Raises:
        UnknownName, ExtraMissing: as `architecture`.
        InvalidInput: an unknown padding, or counts below 2 classes or 1 channel.
    """
    if classes < 2 or channels < 1:
        raise InvalidInput(f"expected ≥ 2 classes and ≥ 1 channels; got {classes} and {channels}")
    return with_padding(architecture(arch)(classes, channels), padding)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and weights without gradient; on leaving, every flag is as before."""
    training = [module for module in model.modules() if module.training]
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        if training:
            model.eval()
        for weight in trainable:
            weight.requires_grad_(False)
        yield
    finally:
        for module in training:
            module.training = True  # train() recurses and may be overridden
        for weight in trainable:
            weight.requires_grad_(True)


def folded(model: nn.Module, x: Tensor) -> nn.Module:
    """The same function for inference, with each batch norm inside the convolution before it.

    A norm and a convolution belong together where the one is registered right after the other; that
    need not be the order in which they run, so the copy is tried.

    Args:
        model: in eval mode.
        x: (B, C, H, W) in [0, 1], to compare both by.

    Returns:
        A copy with frozen weights whose modules have their old names, or `model` where the copy's
        logits are others.
    """
    copied = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        for parent in list(copied.modules()):
            for (_, conv), (name, norm) in itertools.pairwise(list(parent.named_children())):
                if isinstance(norm, nn.BatchNorm2d) and _fold(conv, norm):
                    setattr(parent, name, getattr(norm, "act", nn.Identity()).eval())
        wanted, got = model(x), copied(x)
    size = max(1.0, float(wanted.abs().max()))
    return copied if float((got - wanted).abs().max()) <= 1e-4 * size else model


def _fold(conv: nn.Module, norm: nn.BatchNorm2d) -> bool:
    """Let a convolution give what the norm makes of it, if it is one of as many channels.

    Partial padding's ratio lies between its weight and its bias, so that both fold as they are.
    """
    mean, variance = norm.running_mean, norm.running_var
    if not isinstance(conv, nn.Conv2d) or conv.out_channels != norm.num_features:
        return False
    if mean is None or variance is None:
        return False
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    shift = norm.bias + scale * ((0.0 if conv.bias is None else conv.bias) - mean)
    conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), requires_grad=False)
    conv.bias = nn.Parameter(shift, requires_grad=False)
    return True


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
