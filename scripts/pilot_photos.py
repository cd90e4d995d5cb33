"""The tables of docs/photos.md: zero-shot accuracy, and linear heads on frozen features.

    nls data everyday-objects && python scripts/pilot_photos.py

Needs the extra `photos`; about 15 minutes on one core. Each head is pulled to its start w0 by
λ·|w - w0|² and fitted by L-BFGS on 5 training renderings of each object, four folds at a time; all
figures are those of the fixed test renderings of the objects left out.
"""

from __future__ import annotations

import copy
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nls_core import calibration, imagenet, objects
from nls_core.settings import Settings

RENDERINGS, STEPS, BATCH = 5, 60, 32


def features(net: nn.Module, images: Tensor) -> Tensor:
    """(N, 1280) of (N, 3, 224, 224) uint8 images."""
    with torch.inference_mode():
        parts = [
            net.forward_head(net.forward_features(x.float() / 127.5 - 1), pre_logits=True)
            for x in images.split(BATCH)
        ]
    return torch.cat(parts).clone()


def fit(start: nn.Module, x: Tensor, y: Tensor, pull: float) -> nn.Module:
    """A copy of a head, trained with ce and held near its start."""
    head = copy.deepcopy(start)
    weights = [w for w in head.parameters() if w.ndim == 2]
    first = [w.detach().clone() for w in weights]
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        moved = sum(((w - w0) ** 2).sum() for w, w0 in zip(weights, first, strict=True))
        loss = F.cross_entropy(head(x), y) + pull * moved
        loss.backward()
        return loss

    optimizer.step(closure)
    return head


def main() -> None:
    """Print one line per table row: top-1 of all, photos and drawings, mean over classes, ECE."""
    collection = objects.read(Settings().data_dir)
    test = objects.fixed(collection)
    photo = torch.tensor([stamp.kind == "photo" for stamp in collection.objects])

    def show(name: str, probs: Tensor) -> None:
        right = (probs.argmax(1) == test.labels).float()
        balanced = torch.stack([right[test.labels == k].mean() for k in test.labels.unique()])
        shares = [right.mean(), right[photo].mean(), right[~photo].mean(), balanced.mean()]
        cells = [*shares, calibration.ece(probs, test.labels)]
        sys.stdout.write(f"{name:32}" + " ".join(f"{100 * c:6.1f}" for c in cells) + "\n")
        sys.stdout.flush()

    for padding in ("zero", "partial"):
        net = imagenet.load(padding)
        probs = net.classifier(features(net, test.images)).detach()
        show(f"zero-shot, {padding}", imagenet.zero_shot(probs, collection.classes))
    net = imagenet.load()
    varied = objects.varied(collection, range(len(collection.objects)), RENDERINGS)
    x, held = features(net, varied.images), features(net, test.images)
    means = imagenet.initial_head(net, collection.classes)
    heads = {"mean rows": means, "all rows": imagenet.MemberHead(net, collection.classes)}
    for name, start in heads.items():
        show(name, start(held).softmax(1).detach())
        for pull in (0.1, 0.01, 0.001):
            probs = torch.zeros(len(held), len(collection.classes))
            for k in test.folds.unique():
                head = fit(start, x[varied.folds != k], varied.labels[varied.folds != k], pull)
                probs[test.folds == k] = head(held[test.folds == k]).softmax(1).detach()
            show(f"{name}, λ {pull:g}", probs)


if __name__ == "__main__":
    main()
