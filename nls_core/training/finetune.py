"""Fine-tuning EfficientNet-Lite0 on everyday objects: the last blocks, fold by fold.

The first blocks keep their ImageNet weights, so what they make of every rendering is computed
once (`features`) and only the rest is trained. Objects of a fold are answered by a network that
was trained on the other folds: accuracy and calibration rest on every object (`out_of_fold`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nls_core import nets
from nls_core.data import objects
from nls_core.data.datasets import batch_size
from nls_core.errors import InvalidInput
from nls_core.families.recipe import TRANSFER, Recipe
from nls_core.losses import LOSSES
from nls_core.training import imagenet

WARMUP = 20  # steps: the rate rises, then falls as a cosine to 0
# the fields of a recipe that decide a transfer, in the order in which manifests have them
PLAN = (
    *("loss", "padding", "smoothing", "gamma", "weight", "lr", "epochs", "batch_size"),
    *("momentum", "weight_decay", "frozen", "renderings", "seed"),
)
OUTSIDE = 200  # backgrounds without an object
Progress = Callable[[int], None]


def check(recipe: Recipe) -> tuple[int, int]:
    """The numbers of frozen blocks and of renderings, if the recipe is one of a transfer.

    Raises:
        InvalidInput: it cannot be trained, or holds what a transfer would pass over.
    """
    recipe.check()
    wanted = {"arch": imagenet.ARCH, "schedule": "cosine", "flip": False, "amp": False}
    wrong = [name for name, value in wanted.items() if getattr(recipe, name) != value]
    wrong += [name for name in TRANSFER if getattr(recipe, name) is None]
    if wrong or recipe.frozen is None or recipe.renderings is None:
        got = {name: getattr(recipe, name) for name in wrong}
        raise InvalidInput(
            f"a transfer expects {wanted} and numbers for {list(TRANSFER)}; got {got}"
        )
    return recipe.frozen, recipe.renderings


def plan(recipe: Recipe) -> dict[str, object]:
    """What decides a transfer, by name: under this, runs are kept and found again."""
    return {name: getattr(recipe, name) for name in PLAN}


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


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step out of `steps`."""
    return recipe.lr * min((step + 1) / WARMUP, 1.0) * 0.5 * (1 + math.cos(math.pi * step / steps))


def fit(
    recipe: Recipe,
    back: nn.Module,
    data: tuple[Tensor, Tensor],
    report: Progress = lambda done: None,
) -> None:
    """Train the rest of a network in place, its batch norms with the statistics they have.

    Args:
        recipe: what to train.
        back: from features to logits.
        data: features (N, c, h, w) and labels (N,).
        report: called with the number of images after each step.
    """
    inputs, labels = data
    back.eval()  # statistics of a few hundred objects would be worse than ImageNet's
    back.requires_grad_(True)
    optimizer = torch.optim.SGD(
        back.parameters(),
        recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    each = min(recipe.batch_size, len(labels))
    steps = recipe.epochs * (len(labels) // each)
    for step in range(steps):
        at = step % (len(labels) // each)
        if at == 0:
            order = torch.randperm(len(labels), generator=generator)
        index = order[at * each : (at + 1) * each]
        for group in optimizer.param_groups:
            group["lr"] = rate(recipe, step, steps)
        # float32: on CPUs the depthwise convolutions of the last blocks are slower in bfloat16
        x = inputs[index].float().contiguous(memory_format=torch.channels_last)
        loss = LOSSES[recipe.loss](back(x), labels[index], **recipe.loss_options())
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
    recipe: Recipe, collection: objects.Collection, report: Progress = lambda done: None
) -> PreparedFolds:
    """Load ImageNet's weights with the head of the classes, and compute the features once.

    Raises:
        InvalidInput: a bad recipe.
        ExtraMissing: the weights are not installed.
    """
    frozen, renderings = check(recipe)
    model = imagenet.classifier(collection.classes, recipe.padding)
    model.to(memory_format=torch.channels_last)
    model.requires_grad_(False)
    front, _ = halves(model, frozen)
    every = range(len(collection.objects))
    train = objects.varied(collection, every, renderings, seed=recipe.seed)
    test = objects.fixed(collection)
    pictures = (train.images, test.images, objects.empty(collection, OUTSIDE))
    inputs = [features(front, images, report) for images in pictures]
    count = len(collection.classes)
    return PreparedFolds(model, count, frozen, train, test, *inputs)


@torch.no_grad()
def answer(back: nn.Module, inputs: Tensor) -> Tensor:
    """Logits (N, K) in float32 of features (N, c, h, w)."""
    back.eval()
    return torch.cat([back(part.float()).float() for part in torch.split(inputs, 64)])


def trained(
    recipe: Recipe,
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
    fit(recipe, back, (inputs, labels), report)
    return model.eval()


def stated(recipe: Recipe) -> dict[str, object]:
    """A transfer as manifests hold it."""
    found = {name: value for name, value in plan(recipe).items() if value is not None}
    return found | {"dataset": recipe.dataset}
