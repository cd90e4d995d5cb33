"""Accuracy under attack on a fixed part of the test split: white-box, black-box and transfer.

White-box figures alone can show gradient masking instead of robustness (arXiv 2009.08233), so
Auto-PGD on the DLR loss (arXiv 2003.01690), Square without gradients (arXiv 1912.00049), transfer
from other models, and the worst case over all of them stand beside FGSM and PGD; and `signs`
measures what masked gradients would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nls_core.attacks import ATTACKS, threat
from nls_core.data import datasets
from nls_core.nets import frozen

EPSILONS = (0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255)
IMAGES = 500
BATCH = 100
FAR = 128 / 255  # an ε at which an attack with honest gradients leaves next to nothing right
FAR_STEPS = 20
VANISHED = 1e-10  # an input gradient whose largest entry is below is as good as none
# shares of images above which a sign of masking is shown
NO_GRADIENT = 0.05
STILL_RIGHT = 0.01
# differences in accuracy; of 500 images one point is 5, a standard error up to 2.2
MARGIN = 0.02
DLR_MARGIN = 0.05


@dataclass(frozen=True)
class Case:
    """One attack with its settings, which decide the figures and so the key of kept ones.

    With `second_run`, what the first run leaves right is attacked again from a random start.
    """

    attack: str  # a key of ATTACKS
    options: Mapping[str, int] = field(default_factory=dict)
    second_run: bool = False

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
        """Adversarial images of x (N, C, H, W) in [0, 1] with labels y (N,)."""
        run = ATTACKS[self.attack]
        moved = run(model, x, y, epsilon=epsilon, **self.options)
        left = right(model, moved, y).nonzero()[:, 0] if self.second_run else ()
        if len(left):
            again = dict(self.options, random_start=True)
            moved[left] = run(model, x[left], y[left], epsilon=epsilon, **again)
        return moved


CASES: dict[str, Case] = {
    "fgsm": Case("fgsm"),
    "pgd": Case("pgd-linf", {"steps": 20}, second_run=True),
    "apgd-dlr": Case("apgd-dlr", {"steps": 30}),
    "square": Case("square", {"queries": 500}),
}
MEANING: dict[str, str] = {
    "fgsm": "one step of size ε along the sign of the gradient",
    "pgd": "PGD, 20 steps, 2 restarts",
    "apgd-dlr": "Auto-PGD on the DLR loss, 30 steps",
    "square": "Square, 500 queries, no gradients",
    "transfer": "PGD images of every other model, the worst for each image",
    "worst": "the worst of all for each image",
}
SIGNS: dict[str, str] = {  # of gradient masking; see `masking`
    "zero gradient": f"more than {NO_GRADIENT:.0%} of the images have no input gradient",
    "far attack fails": f"PGD at {255 * FAR:.0f}/255 leaves more than {STILL_RIGHT:.0%} right",
    "black box wins": f"Square or transfer beats white-box attacks by {100 * MARGIN:.0f} points",
    "success falls": f"a larger ε leaves {100 * MARGIN:.0f} points more to PGD",
    "dlr wins by far": f"Auto-PGD on the DLR loss beats PGD by {100 * DLR_MARGIN:.0f} points",
}
CRAFTED = "pgd"  # whose images are tried on the other models
WHITE = ("pgd", "apgd-dlr")  # attacks that see the gradient and search
TRANSFER = "transfer"
WORST = "worst"


@dataclass(frozen=True)
class Attacked:
    """What one model's images became, and which of them it still gets right.

    `right` maps a case to (E, N) bool over `EPSILONS` and images; `crafted` is (E, N, C, H, W).
    """

    right: Mapping[str, Tensor]
    crafted: Tensor


def subset(test: datasets.Data, count: int = IMAGES) -> tuple[Tensor, Tensor]:
    """The same images for every model: x (N, C, H, W) in [0, 1] and labels (N,)."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:count]
    return test.images[order].float() / 255, test.labels[order]


def attack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Attacked:
    """Run every case at every ε, from the true labels.

    Args:
        model: from x in [0, 1] to logits, in eval mode.
        x: (N, C, H, W); y: (N,) true labels.
        progress: called with the number of images attacked.
    """
    x = x.contiguous(memory_format=torch.channels_last)  # what convolutions are fastest on
    kept: dict[str, Tensor] = {}
    crafted: list[Tensor] = []
    for case, make in CASES.items():
        rows = []
        for epsilon in EPSILONS:
            parts = []
            for a, b in _batches(x, y):
                parts.append(make(model, a, b, epsilon))
                progress(len(a))
            moved = torch.cat(parts)
            rows.append(right(model, moved, y))
            if case == CRAFTED:
                crafted.append(moved)
        kept[case] = torch.stack(rows)
    return Attacked(kept, torch.stack(crafted))


def transferred(model: nn.Module, crafted: Tensor, y: Tensor) -> Tensor:
    """Which of another model's images (E, N, C, H, W) this model gets right: (E, N) bool."""
    return torch.stack([right(model, images, y) for images in crafted])


def _batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = datasets.batch_size(x.shape[1:], BATCH)
    return zip(torch.split(x, size), torch.split(y, size), strict=True)


@torch.no_grad()
def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    """(N, K) logits of x (N, C, H, W), in batches."""
    size = datasets.batch_size(x.shape[1:], BATCH)
    return torch.cat([model(part) for part in torch.split(x, size)])


def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(N,) bool: the model names y."""
    return logits_of(model, x).argmax(1) == y


def signs(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """What gradient masking would show and the table of attacks does not hold.

    Returns:
        'zero_gradient': the share of images whose input gradient of the cross-entropy has no
        entry above `VANISHED`; 'far': the accuracy left by PGD with `FAR_STEPS` at ε = `FAR`
        (arXiv 1802.00420: an unbounded attack that does not always succeed).
    """
    vanished, kept = 0, 0
    with frozen(model):
        for a, b in _batches(x, y):
            leaf = a.detach().clone().requires_grad_()
            loss = threat.LOSS["ce"](model(leaf), b).sum()
            (gradient,) = torch.autograd.grad(loss, leaf)
            vanished += int((gradient.abs().amax((1, 2, 3)) < VANISHED).sum())
            kept += int(
                right(
                    model, ATTACKS["pgd-linf"](model, a, b, epsilon=FAR, steps=FAR_STEPS), b
                ).sum()
            )
    return {"zero_gradient": vanished / len(y), "far": kept / len(y)}


def masking(accuracy: Mapping[str, list[float]], measured: Mapping[str, float]) -> dict[str, bool]:
    """The named signs of gradient masking (arXiv 1802.00420, 2009.08233), each shown or not.

    Args:
        accuracy: case -> accuracy over `EPSILONS`, as fractions; the cases of `CASES`, and
            'transfer' where it was tried.
        measured: of `signs`.

    Returns:
        A name of `SIGNS` -> whether it is shown.
    """
    white = [min(values) for values in zip(*(accuracy[case] for case in WHITE), strict=True)]
    black = [accuracy[case] for case in ("square", TRANSFER) if case in accuracy]
    pgd, dlr = accuracy["pgd"], accuracy["apgd-dlr"]
    return {
        "zero gradient": measured["zero_gradient"] > NO_GRADIENT,
        "far attack fails": measured["far"] > STILL_RIGHT,
        "black box wins": any(
            ours - theirs >= MARGIN
            for other in black
            for ours, theirs in zip(white, other, strict=True)
        ),
        "success falls": any(
            later - earlier >= MARGIN for i, earlier in enumerate(pgd) for later in pgd[i + 1 :]
        ),
        "dlr wins by far": any(a - b >= DLR_MARGIN for a, b in zip(pgd, dlr, strict=True)),
    }
