"""What others would write for the same work, to measure ours against: `bench` times both.

The peers are grad-cam and torchattacks, which `make` installs for the tests; without them their
rows are left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nls_core import attacks, nets, zoo
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.images import PREPROCESS, decode_image

Work = Callable[[], object]
EPSILONS = tuple(n / 255 for n in range(1, 9))
STEPS = 10


def there(package: str) -> bool:
    """Whether a peer is installed."""
    return importlib.util.find_spec(package) is not None


def analysis(analyzer: Analyzer, model_id: str, image: bytes) -> dict[str, Work]:
    """One model, one picture: a prediction, 9 GradCAMs and FGSM at 8 strengths, in three ways.

    Returns:
        'ours' is `Analyzer.analyze` of a decoded picture; 'peers' the loop over grad-cam and
        torchattacks, if that is there; 'bare' one forward, one input gradient and one forward of 8.
    """
    model, manifest = zoo.load(model_id, analyzer.settings.models_dir, analyzer.device)
    picture = decode_image(image)
    x = PREPROCESS[manifest.preprocess](picture, manifest.input_size, manifest.channels).x
    x = x.to(analyzer.device)
    request = AnalysisRequest((model_id,), attack="fgsm", epsilons=EPSILONS)

    def bare() -> object:
        with torch.no_grad():
            label = model(x).argmax(1)
        input_gradient(model, x, label)
        with torch.no_grad():
            return model(x.expand(len(EPSILONS), -1, -1, -1))

    ways: dict[str, Work] = {"bare": bare, "ours": lambda: analyzer.analyze(picture, request)}
    if there("torchattacks") and there("pytorch_grad_cam"):
        ways["peers"] = _loop(model, x, list(analyzer.layers(model_id))[-1])
    return ways


def _loop(model: nn.Module, x: Tensor, layer: str) -> Work:
    """What somebody with these two libraries would write, weights as torch makes them."""
    import torchattacks  # noqa: PLC0415 - optional, as the next
    from pytorch_grad_cam import GradCAM  # noqa: PLC0415
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: PLC0415

    model.requires_grad_(True)

    def run() -> object:
        with torch.no_grad():
            label = model(x).argmax(1)
        target = [ClassifierOutputTarget(int(label))]
        answers = []
        with GradCAM(model, [model.get_submodule(layer)]) as cam:
            answers.append((label, cam(x, target)))
            for epsilon in EPSILONS:
                attacked = torchattacks.FGSM(model, eps=epsilon)(x, label)
                with torch.no_grad():
                    logits = model(attacked)
                answers.append((logits, cam(attacked, target)))
        return answers

    return run


def input_gradient(model: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    """Of the cross-entropy, with frozen weights."""
    with nets.frozen(model):
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(leaf), label), leaf)[0]


def pgd(analyzer: Analyzer, model_id: str) -> dict[str, Work]:
    """PGD-10 at 8 strengths from one picture: ours, and torchattacks' if that is there."""
    model, manifest = zoo.load(model_id, analyzer.settings.models_dir, analyzer.device)
    size = manifest.input_size
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, manifest.channels, size, size, generator=generator).to(analyzer.device)
    label = model(x).argmax(1)
    many = (x.expand(len(EPSILONS), -1, -1, -1), label.expand(len(EPSILONS)))
    radius = torch.tensor(EPSILONS, device=x.device)
    own = attacks.ATTACKS["pgd-linf"]

    def ours() -> object:
        first = input_gradient(model, x, label).expand_as(many[0])
        return own(model, *many, epsilon=radius, steps=STEPS, first_gradient=first)

    ways: dict[str, Work] = {"ours": ours}
    if there("torchattacks"):
        import torchattacks  # noqa: PLC0415 - optional

        options: dict[str, Any] = {"steps": STEPS, "random_start": False}
        peers = [torchattacks.PGD(model, eps=e, alpha=2.5 * e / STEPS, **options) for e in EPSILONS]
        ways["peers"] = lambda: [peer(x, label) for peer in peers]
    return ways


class MaskConv2d(nets.PartialConv2d):
    """Partial padding as it is usually published: a mask of ones is convolved at each forward."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H', W')."""
        pads = self.pads(x.shape[-2], x.shape[-1])
        ones = torch.ones_like(self.weight[:1, :1])
        mask = F.pad(torch.ones_like(x[:1, :1]), pads)
        valid = F.conv2d(mask, ones, None, self.stride, 0, self.dilation)
        out = self._convolve(x, None, pads) * (ones.numel() / valid.clamp_min(1))
        return out if self.bias is None else out + self.bias.view(-1, 1, 1)


def forward(arch: str, shape: tuple[int, int, int, int], kind: str) -> Work:
    """A forward without gradient of a fresh net: 'zero', 'partial' or 'mask' padding."""
    torch.manual_seed(0)
    net = nets.build(arch, 10, shape[1], "zero" if kind == "zero" else "partial").eval()
    if kind == "mask":
        for module in net.modules():
            if type(module) is nets.PartialConv2d:
                module.__class__ = MaskConv2d
    net.to(memory_format=torch.channels_last)
    x = torch.rand(shape).contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.no_grad():
            return net(x)

    return run
