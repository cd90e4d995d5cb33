"""Fine-tuning EfficientNet-Lite0 on everyday objects: the last blocks, fold by fold.

The first blocks keep their ImageNet weights, so what they make of every rendering is computed
once (`features`) and only the rest is trained. Objects of a fold are answered by a network that
was trained on the other folds: accuracy and calibration rest on every object (`out_of_fold`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from nls_core import nets
from nls_core.data import objects
from nls_core.data.datasets import batch_size
from nls_core.errors import InvalidInput, choose
from nls_core.losses import LOSSES, options
from nls_core.training import imagenet

BLOCKS = 7  # of EfficientNet-Lite0
WARMUP = 20  # steps
OUTSIDE = 200  # backgrounds without an object
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Plan:
    """What decides a transfer; `frozen` blocks of `BLOCKS` keep ImageNet's weights.

    `weight` is λ of `nls_ls`, None its default. `renderings` of each object are made once and
    used in every epoch. The rate falls as a cosine from `lr` to 0, after a short warm-up.
    """

    loss: str = "ce"
    padding: str = "zero"
    smoothing: float = 0.1
    gamma: float = 0.0
    weight: float | None = None
    lr: float = 0.01
    epochs: int = 2
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 1e-4
    frozen: int = 6
    renderings: int = 12
    seed: int = 0

    def check(self) -> None:
        """Raise InvalidInput for what cannot be trained."""
        choose("loss", self.loss, LOSSES)
        choose("padding", self.padding, {name: name for name in nets.PADDINGS})
        if not 0 <= self.frozen <= BLOCKS:
            raise InvalidInput(f"frozen must lie in [0, {BLOCKS}]; got {self.frozen}")
        if not 0 < self.lr < math.inf:
            raise InvalidInput(f"lr must be above 0 and finite; got {self.lr}")
        for name in ("epochs", "batch_size", "renderings"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} must be at least 1; got {getattr(self, name)}")

    def loss_options(self) -> dict[str, float]:
        """The keyword arguments of this plan's loss."""
        return options(self.smoothing, self.gamma, self.weight)


def halves(model: nets.Classifier, frozen: int) -> tuple[nn.Module, nn.Module]:
    """A classifier's frozen part, from x in [0, 1] to features, and the trained rest.

    Both share the classifier's modules: training the second trains the classifier.
    """
    net = model.net
    blocks = list(net.get_submodule("blocks").children())
    first = [net.get_submodule(name) for name in ("conv_stem", "bn1")]
    last = [net.get_submodule(name) for name in ("conv_head", "bn2", "global_pool", "classifier")]
    front = nn.Sequential(*first, *blocks[:frozen])
    return nets.Classifier(front, imagenet.MEAN, imagenet.STD), nn.Sequential(
        *blocks[frozen:], *last
    )


@torch.no_grad()
def features(front: nn.Module, images: Tensor, report: Progress = lambda done: None) -> Tensor:
    """What the frozen blocks make of uint8 images (N, 3, S, S): (N, c, h, w) float16."""
    front.eval()
    parts = []
    for part in torch.split(images, batch_size(images.shape[1:], 64)):
        x = (part.float() / 255).contiguous(memory_format=torch.channels_last)
        parts.append(front(x).half())
        report(len(part))
    return torch.cat(parts)


def rate(plan: Plan, step: int, steps: int) -> float:
    """The learning rate of a step out of `steps`."""
    return plan.lr * min((step + 1) / WARMUP, 1.0) * 0.5 * (1 + math.cos(math.pi * step / steps))


def fit(
    plan: Plan, back: nn.Module, data: tuple[Tensor, Tensor], report: Progress = lambda done: None
) -> None:
    """Train the rest of a network in place, its batch norms with the statistics they have.

    Args:
        plan: what to train.
        back: from features to logits.
        data: features (N, c, h, w) and labels (N,).
        report: called with the number of images after each step.
    """
    inputs, labels = data
    back.eval()  # statistics of a few hundred objects would be worse than ImageNet's
    back.requires_grad_(True)
    optimizer = torch.optim.SGD(
        back.parameters(),
        plan.lr,
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
        nesterov=plan.momentum > 0,
    )
    generator = torch.Generator().manual_seed(plan.seed)
    each = min(plan.batch_size, len(labels))
    steps = plan.epochs * (len(labels) // each)
    for step in range(steps):
        at = step % (len(labels) // each)
        if at == 0:
            order = torch.randperm(len(labels), generator=generator)
        index = order[at * each : (at + 1) * each]
        for group in optimizer.param_groups:
            group["lr"] = rate(plan, step, steps)
        # float32: on CPUs the depthwise convolutions of the last blocks are slower in bfloat16
        x = inputs[index].float().contiguous(memory_format=torch.channels_last)
        loss = LOSSES[plan.loss](back(x), labels[index], **plan.loss_options())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        report(len(index))
    back.requires_grad_(False)


@dataclass(frozen=True)
class PreparedFolds:
    """A start for all folds: the classifier and what its frozen part makes of the renderings."""

    model: nets.Classifier
    classes: int
    frozen: int
    train: objects.Renderings
    test: objects.Renderings
    train_features: Tensor
    test_features: Tensor
    outside_features: Tensor  # of backgrounds without an object


def prepare(
    plan: Plan, collection: objects.Collection, report: Progress = lambda done: None
) -> PreparedFolds:
    """Load ImageNet's weights with the head of the classes, and compute the features once.

    Raises:
        InvalidInput: a bad plan.
        ExtraMissing: the weights are not installed.
    """
    plan.check()
    model = imagenet.classifier(collection.classes, plan.padding)
    model.to(memory_format=torch.channels_last)
    model.requires_grad_(False)
    front, _ = halves(model, plan.frozen)
    every = range(len(collection.objects))
    train = objects.varied(collection, every, plan.renderings, seed=plan.seed)
    test = objects.fixed(collection)
    pictures = (train.images, test.images, objects.empty(collection, OUTSIDE))
    inputs = [features(front, images, report) for images in pictures]
    count = len(collection.classes)
    return PreparedFolds(model, count, plan.frozen, train, test, *inputs)


@torch.no_grad()
def answer(back: nn.Module, inputs: Tensor) -> Tensor:
    """Logits (N, K) in float32 of features (N, c, h, w)."""
    back.eval()
    return torch.cat([back(part.float()).float() for part in torch.split(inputs, 64)])


def trained(
    plan: Plan,
    prepared: PreparedFolds,
    folds: Collection[int] | None = None,
    report: Progress = lambda done: None,
) -> nets.Classifier:
    """The classifier trained on the objects of some folds; None is all, and what ships."""
    model = copy.deepcopy(prepared.model)
    _, back = halves(model, prepared.frozen)
    inputs, labels = prepared.train_features, prepared.train.labels
    if folds is not None:
        seen = torch.isin(prepared.train.folds, torch.tensor(sorted(folds)))
        inputs, labels = inputs[seen], labels[seen]
    fit(plan, back, (inputs, labels), report)
    return model.eval()


def recipe(plan: Plan) -> dict[str, object]:
    """A plan as manifests hold it."""
    return {k: v for k, v in asdict(plan).items() if v is not None} | {
        "dataset": "everyday-objects"
    }
