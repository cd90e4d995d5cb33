"""Fine-tuning EfficientNet-Lite0 on everyday objects: one network at a time.

The first blocks keep their ImageNet weights, so what they make of every rendering is computed
once (`features`) and only the rest is trained. `out_of_fold` trains such networks fold by fold.
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
from nls_core.families.recipe import ABERRANT, TRANSFER, Recipe
from nls_core.losses import LOSSES, OPTIONS
from nls_core.training import imagenet

WARMUP = 20  # steps: the rate rises, then falls as a cosine to 0
# a step, the peak rate times the gradient's norm, is cut to this: losses differ by a factor of 25
# in their gradients, and the rates make up for it, so a bound on the gradient would not be one rule
LONGEST_STEP = 0.1
# the fields of a recipe that decide a transfer, in the order in which manifests have them
PLAN = (
    *("loss", "padding", "smoothing", "gamma", "weight", "lr", "epochs", "batch_size"),
    *("momentum", "weight_decay", "freeze_bn", *TRANSFER, "seed"),
)
OUTSIDE = 200  # backgrounds without an object
TEST_RENDERINGS = 10  # of each object
Progress = Callable[[int], None]
Watch = Callable[[float, nn.Module], None]  # mean loss of a pass, and the network after it


def check(recipe: Recipe) -> tuple[int, int]:
    """The numbers of frozen blocks and of renderings, if the recipe is one of a transfer.

    Raises:
        InvalidInput: it cannot be trained, or holds what a transfer would pass over.
    """
    recipe.check()
    wanted = {"arch": imagenet.ARCH, "schedule": "cosine", "flip": False, "amp": False}
    wrong = [name for name, value in wanted.items() if getattr(recipe, name) != value]
    wrong += [name for name in TRANSFER if getattr(recipe, name) is None]
    wrong += [name for name in ABERRANT if getattr(recipe, name) is not None]
    if wrong or recipe.frozen is None or recipe.renderings is None:
        got = {name: getattr(recipe, name) for name in wrong}
        raise InvalidInput(
            f"a transfer expects {wanted}, numbers for {list(TRANSFER)} and clean data; got {got}"
        )
    return recipe.frozen, recipe.renderings


def plan(recipe: Recipe) -> dict[str, object]:
    """What decides a transfer, by name: under this, runs are kept and found again."""
    plan = {name: getattr(recipe, name) for name in PLAN}
    own = {name: getattr(recipe, name) for name in OPTIONS if name not in plan}
    return plan | {name: value for name, value in own.items() if value is not None}


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
def features(front: nn.Module, images: Tensor, progress: Progress = lambda done: None) -> Tensor:
    """What the frozen blocks make of uint8 images (N, 3, S, S): (N, c, h, w) float16."""
    front.eval()
    parts = []
    for part in torch.split(images, batch_size(images.shape[1:], 64)):
        x = (part.float() / 255).contiguous(memory_format=torch.channels_last)
        parts.append(front(x).half())
        progress(len(part))
    return torch.cat(parts)


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step out of `steps`, of what comes after the blocks."""
    return recipe.lr * min((step + 1) / WARMUP, 1.0) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _optimizer(recipe: Recipe, back: nn.Module) -> torch.optim.Optimizer:
    """SGD, with a group for each part of `back`; 'scale' is its share of the rate."""
    parts = [part for part in back.children() if any(True for _ in part.parameters())]
    head = len(parts) - 3  # conv_head, bn2 and classifier learn at the full rate
    decay = 1.0 if recipe.layer_decay is None else recipe.layer_decay
    groups = [
        {"params": list(part.parameters()), "scale": decay ** max(head - i, 0)}
        for i, part in enumerate(parts)
    ]
    return torch.optim.SGD(
        groups,
        recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


def _batches(recipe: Recipe, objects_there: int, renderings: int) -> list[Tensor]:
    """The rows of each step: a pass shows every object once, in the next of its renderings."""
    generator = torch.Generator().manual_seed(recipe.seed)
    size = min(recipe.batch_size, objects_there)
    found = []
    for epoch in range(recipe.epochs):
        order = torch.randperm(objects_there, generator=generator)
        rows = order * renderings + epoch % renderings
        found += list(torch.split(rows[: objects_there // size * size], size))
    return found


def fit(
    recipe: Recipe,
    back: nn.Module,
    data: tuple[Tensor, Tensor],
    progress: Progress = lambda done: None,
    watch: Watch = lambda loss, network: None,
) -> None:
    """Train the rest of a network in place; it becomes what the recipe's weights come to.

    Args:
        recipe: what to train; an epoch shows each object once.
        back: from features to logits.
        data: features (N·R, c, h, w) and labels (N·R,), the R renderings of an object in a row.
        progress: called with the number of images after each step.
        watch: called after each epoch with its mean loss and what the weights come to by then, in
            eval mode.
    """
    inputs, labels = data
    renderings = recipe.renderings or 1
    back.requires_grad_(True)
    optimizer = _optimizer(recipe, back)
    start, kept = (copy.deepcopy(back).requires_grad_(False) for _ in range(2))
    batches = _batches(recipe, len(labels) // renderings, renderings)
    each, losses = len(batches) // recipe.epochs, []
    for step, index in enumerate(batches):
        # by default in eval mode: statistics of a few hundred objects are worse than ImageNet's
        back.train(not recipe.freeze_bn)
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * rate(recipe, step, len(batches))
        # float32: on CPUs the depthwise convolutions are slower in bfloat16
        x = inputs[index].float().contiguous(memory_format=torch.channels_last)
        loss = LOSSES[recipe.loss](back(x), labels[index], **recipe.loss_options())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(back.parameters(), LONGEST_STEP / recipe.lr)
        optimizer.step()
        _move(kept, back, 1 - (recipe.averaging or 0.0))
        losses.append(float(loss.detach()))
        progress(len(index))
        if (step + 1) % each == 0:
            watch(sum(losses[-each:]) / each, _between(start, kept, recipe).eval())
    back.load_state_dict(_between(start, kept, recipe).state_dict())
    back.requires_grad_(False)
    back.eval()


def _between(start: nn.Module, end: nn.Module, recipe: Recipe) -> nn.Module:
    """A network with the weights that lie `interpolation` of the way (arXiv 2109.01903)."""
    share = 1.0 if recipe.interpolation is None else recipe.interpolation
    between = copy.deepcopy(start)
    _move(between, end, share)
    return between


@torch.no_grad()
def _move(network: nn.Module, to: nn.Module, share: float) -> None:
    """Move weights a share of the way to those of another network."""
    for old, new in zip(network.state_dict().values(), to.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, share)
        else:  # counts of batches
            old.copy_(new)


@dataclass(frozen=True)
class PreparedFolds:
    """A start for all folds: the classifier and what its frozen part makes of the renderings.

    `zero_shot` (N·T, K) are the logits of the test renderings by ImageNet's probabilities, summed
    per class, without any training.
    """

    model: nets.Classifier
    classes: int
    frozen: int
    train: objects.Renderings
    test: objects.Renderings
    train_features: Tensor
    test_features: Tensor
    outside_features: Tensor  # of backgrounds without an object
    zero_shot: Tensor

    @property
    def firsts(self) -> Tensor:
        """(N·T,) bool: the first test rendering of each object."""
        index = self.test.objects
        return torch.cat([torch.tensor([True]), index[1:] != index[:-1]])


def prepare(
    recipe: Recipe, collection: objects.Collection, progress: Progress = lambda done: None
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
    front, back = halves(model, frozen)
    every = range(len(collection.objects))
    train = objects.varied(collection, every, renderings, seed=recipe.seed)
    test = objects.fixed(collection, renderings=TEST_RENDERINGS)
    pictures = (train.images, test.images, objects.empty(collection, OUTSIDE))
    train_features, test_features, outside = (features(front, each, progress) for each in pictures)
    # the head gives the mean of the members' probabilities; with their number it is the sum
    zero_shot = answer(back, test_features) + imagenet.membership(collection.classes).sum(1).log()
    count = len(collection.classes)
    return PreparedFolds(
        model, count, frozen, train, test, train_features, test_features, outside, zero_shot
    )


@torch.no_grad()
def answer(back: nn.Module, inputs: Tensor) -> Tensor:
    """Logits (N, K) in float32 of features (N, c, h, w)."""
    back.eval()
    parts = torch.split(inputs, 64)
    return torch.cat(
        [back(p.float().contiguous(memory_format=torch.channels_last)).float() for p in parts]
    )


def trained(
    recipe: Recipe,
    prepared: PreparedFolds,
    folds: Collection[int] | None = None,
    progress: Progress = lambda done: None,
    watch: Watch = lambda loss, network: None,
) -> nets.Classifier:
    """The classifier trained on the objects of some folds; None is all, and what ships."""
    model = copy.deepcopy(prepared.model)
    _, back = halves(model, prepared.frozen)
    inputs, labels = prepared.train_features, prepared.train.labels
    if folds is not None:
        seen = torch.isin(prepared.train.folds, torch.tensor(sorted(folds)))
        inputs, labels = inputs[seen], labels[seen]
    fit(recipe, back, (inputs, labels), progress, watch)
    return model.eval()


def stated(recipe: Recipe) -> dict[str, object]:
    """A transfer as manifests hold it."""
    found = {name: value for name, value in plan(recipe).items() if value is not None}
    return found | {"dataset": recipe.dataset}
