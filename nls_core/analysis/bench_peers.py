"""What others would write for the same work, to measure ours against: `bench` times both.

The peers are grad-cam and torchattacks, which `make` installs for the tests, and captum and foolbox
of the extra `bench`; rows of those that are not installed are left out.
"""

from __future__ import annotations

import copy
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
OURS, BARE = "nls_core", "bare compute"
EPSILONS = tuple(n / 255 for n in range(1, 9))
STEPS = 10


def there(package: str) -> bool:
    """Whether a peer is installed."""
    return importlib.util.find_spec(package) is not None


def analysis(analyzer: Analyzer, model_id: str, image: bytes) -> dict[str, Work]:
    """One model, one picture: a prediction, 9 GradCAMs and FGSM at 8 strengths, in three ways.

    Returns:
        'nls_core' is `Analyzer.analyze` of a decoded picture; 'bare compute' one forward, one input
        gradient and one forward of 8; the loops over peers by their names, where they are there.
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

    ways: dict[str, Work] = {BARE: bare, OURS: lambda: analyzer.analyze(picture, request)}
    layer = list(analyzer.layers(model_id))[-1]
    if there("torchattacks") and there("pytorch_grad_cam"):
        ways["grad-cam, torchattacks"] = _loop(copy.deepcopy(model), x, layer)
    if there("captum"):
        ways["captum"] = _captum(copy.deepcopy(model), x, layer)
    return ways


def _captum(model: nn.Module, x: Tensor, layer: str) -> Work:
    """The same by captum alone, which has both."""
    from captum.attr import LayerGradCam  # noqa: PLC0415 - optional, as the next
    from captum.robust import FGSM  # noqa: PLC0415

    model.requires_grad_(True)
    cam = LayerGradCam(model, model.get_submodule(layer))
    fgsm = FGSM(model, lower_bound=0.0, upper_bound=1.0)

    def run() -> object:
        with torch.no_grad():
            label = model(x).argmax(1)
        answers = [(label, cam.attribute(x, label, relu_attributions=True))]
        for epsilon in EPSILONS:
            attacked = fgsm.perturb(x, epsilon, label)
            with torch.no_grad():
                logits = model(attacked)
            answers.append((logits, cam.attribute(attacked, label, relu_attributions=True)))
        return answers

    return run


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
    """PGD-10 at 8 strengths from one picture: ours, and that of the peers which are there."""
    model, manifest = zoo.load(model_id, analyzer.settings.models_dir, analyzer.device)
    size = manifest.input_size
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, manifest.channels, size, size, generator=generator).to(analyzer.device)
    label = model(x).argmax(1)
    many = (x.expand(len(EPSILONS), -1, -1, -1), label.expand(len(EPSILONS)))
    radius = torch.tensor(EPSILONS, device=x.device)
    own, served = attacks.ATTACKS["pgd-linf"], nets.folded(model, x)

    def ours() -> object:
        first = input_gradient(served, x, label).expand_as(many[0])
        return own(served, *many, epsilon=radius, steps=STEPS, first_gradient=first)

    ways: dict[str, Work] = {OURS: ours}
    if there("torchattacks"):
        import torchattacks  # noqa: PLC0415 - optional

        options: dict[str, Any] = {"steps": STEPS, "random_start": False}
        peers = [torchattacks.PGD(model, eps=e, alpha=2.5 * e / STEPS, **options) for e in EPSILONS]
        ways["torchattacks"] = lambda: [peer(x, label) for peer in peers]
    if there("foolbox"):
        import foolbox  # noqa: PLC0415 - optional

        theirs = foolbox.PyTorchModel(model, bounds=(0, 1), device=str(x.device))
        attack = foolbox.attacks.LinfPGD(rel_stepsize=2.5 / STEPS, steps=STEPS, random_start=False)
        ways["foolbox"] = lambda: attack(theirs, x, label, epsilons=list(EPSILONS))
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
