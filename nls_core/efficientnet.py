"""EfficientNet-Lite0 for 224 pixels, with the names and the order of timm's tensors.

As timm's `tf_efficientnet_lite0` (Apache-2.0): EfficientNet-B0 (Tan & Le 2019, arXiv 1905.11946)
without squeeze-and-excitation and with ReLU6 for swish, padded as TensorFlow does. The tests
compare it with timm's, which with all that it imports takes a server 180 MB and two seconds.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from nls_core.padding import PaddedConv2d

# by stage: blocks, kernel, stride of the first block, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32


class Norm(nn.BatchNorm2d):
    """Batch norm and, where it is wanted, ReLU6."""

    def __init__(self, channels: int, *, act: bool = True) -> None:
        super().__init__(channels, eps=1e-3)  # TensorFlow's
        self.act = nn.ReLU6(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return self.act(super().forward(x))  # type: ignore[no-any-return]


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Without bias, padded so that the output is ceil(size / stride)."""
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, groups=groups, bias=False)
    return PaddedConv2d(inputs, outputs, kernel, stride, "same", groups=groups, bias=False)


class Separable(nn.Module):
    """The first block: a depthwise convolution, and a pointwise one without activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = convolution(inputs, inputs, kernel, stride, groups=inputs)
        self.bn1 = Norm(inputs)
        self.conv_pw = convolution(inputs, outputs, 1)
        self.bn2 = Norm(outputs, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""
        return self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """The other blocks: wide inside, with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.conv_pw = convolution(inputs, wide, 1)
        self.bn1 = Norm(wide)
        self.conv_dw = convolution(wide, wide, kernel, stride, groups=wide)
        self.bn2 = Norm(wide)
        self.conv_pwl = convolution(wide, outputs, 1)
        self.bn3 = Norm(outputs, act=False)
        self.has_skip = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""
        y = self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.has_skip else y  # type: ignore[no-any-return]


class EfficientNetLite0(nn.Module):
    """(B, channels, H, W) -> (B, classes); 3.4 M parameters before the classifier."""

    FEATURES = 1280
    classifier: nn.Module

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv_stem = convolution(channels, STEM, 3, 2)
        self.bn1 = Norm(STEM)
        stages, inputs = [], STEM
        for blocks, kernel, stride, expansion, outputs in STAGES:
            parts: list[nn.Module] = []
            for index in range(blocks):
                step = stride if index == 0 else 1
                if expansion == 1:
                    parts.append(Separable(inputs, outputs, kernel, step))
                else:
                    parts.append(Inverted(inputs, outputs, kernel, step, expansion))
                inputs = outputs
            stages.append(nn.Sequential(*parts))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = convolution(inputs, self.FEATURES, 1)
        self.bn2 = Norm(self.FEATURES)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.classifier = nn.Linear(self.FEATURES, classes)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, classes)."""
        x = self.blocks(self.bn1(self.conv_stem(x)))
        x = self.global_pool(self.bn2(self.conv_head(x)))
        return self.classifier(x)  # type: ignore[no-any-return]


def _initialize(net: nn.Module) -> None:
    """As TensorFlow's EfficientNets: normal, by what a weight's outputs add up to."""
    if next(net.parameters()).is_meta:  # nothing to draw; and to ask loads torch's compiler: 2 s
        return
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)
