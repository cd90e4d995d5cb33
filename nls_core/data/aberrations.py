"""Aberrant training data, made of clean data: wrong labels, long-tailed classes, few images.

They are made of what a network is trained and validated on, never of test images: whoever has
noisy data has no clean validation labels either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Generator, Tensor

from nls_core.data.datasets import Data
from nls_core.errors import InvalidInput, choose

# class -> what it is mistaken for, of data sets for which the literature has pairs: Zhang and
# Sabuncu 2018 (arXiv 1805.07836) have boot -> sneaker, sneaker -> sandal, pullover -> shirt, and
# coat <-> dress; the other classes keep their labels
PAIRS: Mapping[str, Mapping[int, int]] = {"fashion-mnist": {9: 7, 7: 5, 2: 6, 4: 3, 3: 4}}


def symmetric(data: Data, share: float, generator: Generator) -> Tensor:
    """(N,) labels of which round(share · N) are wrong, each any other class with equal chance.

    Args:
        data: N images of K classes.
        share: of wrong labels, in [0, 1].
        generator: of all draws.
    """
    labels, classes = data.labels.clone(), len(data.classes)
    wrong = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    steps = torch.randint(1, classes, (len(wrong),), generator=generator)
    labels[wrong] = (labels[wrong] + steps) % classes
    return labels


def asymmetric(data: Data, share: float, generator: Generator) -> Tensor:
    """(N,) labels: of each class the rounded share is taken for the class that it resembles.

    Which that is say `PAIRS` for the data set, and for one without an entry each class is taken
    for the next, the last for the first (Patrini et al. 2017, arXiv 1609.03683). Arguments as
    `symmetric`; `share` is of the classes that are mistaken at all.
    """
    classes, labels = len(data.classes), data.labels.clone()
    pairs = PAIRS.get(data.name, {k: (k + 1) % classes for k in range(classes)})
    for label, other in pairs.items():
        own = torch.nonzero(data.labels == label).flatten()
        drawn = torch.randperm(len(own), generator=generator)[: round(share * len(own))]
        labels[own[drawn]] = other
    return labels


KINDS: dict[str, Callable[[Data, float, Generator], Tensor]] = {
    "symmetric": symmetric,
    "asymmetric": asymmetric,
}


def long_tailed(data: Data, imbalance: float, generator: Generator) -> Data:
    """Keep of class k of K the share ρ^(-k/(K-1)), at least one image (Cui et al. 2019).

    The exponential profile of arXiv 1901.05555: the first class keeps all, the last 1/ρ. Images
    keep their order.

    Args:
        data: of K classes.
        imbalance: ρ ≥ 1.
        generator: draws the images that stay.
    """
    last, kept = max(len(data.classes) - 1, 1), []
    for label in range(len(data.classes)):
        own = torch.nonzero(data.labels == label).flatten()
        count = max(round(len(own) * imbalance ** (-label / last)), min(len(own), 1))
        kept.append(own[torch.randperm(len(own), generator=generator)[:count]])
    return data.take(torch.cat(kept).sort().values)


def aberrant(
    data: Data,
    *,
    label_noise: float | None = None,
    noise_kind: str | None = None,
    imbalance: float | None = None,
    subset: float | None = None,
    generator: Generator,
) -> Data:
    """A part of the data, of it fewer images of later classes, then with wrong labels among those.

    Args:
        data: clean; it is not changed.
        label_noise: the share of wrong labels in [0, 1]; None leaves the labels.
        noise_kind: a key of `KINDS`, None being 'symmetric'.
        imbalance: ρ ≥ 1 of `long_tailed`; None keeps all images.
        subset: the share of the images that stays, in (0, 1], one at least, in their order; None
            keeps all.
        generator: of all draws; nothing is drawn for what is None.

    Raises:
        InvalidInput: a number is not as above.
        UnknownName: no such kind.
    """
    make = choose("kind of noise", noise_kind or "symmetric", KINDS)
    if subset is not None:
        if not 0 < subset <= 1:
            raise InvalidInput(f"subset must lie in (0, 1]; got {subset!r}")
        order = torch.randperm(len(data), generator=generator)
        data = data.take(order[: max(round(subset * len(data)), 1)].sort().values)
    if imbalance is not None:
        if not imbalance >= 1:
            raise InvalidInput(f"imbalance must be at least 1; got {imbalance!r}")
        data = long_tailed(data, imbalance, generator)
    if label_noise is not None:
        if not 0 <= label_noise <= 1:
            raise InvalidInput(f"label noise must lie in [0, 1]; got {label_noise!r}")
        data = replace(data, labels=make(data, label_noise, generator))
    return data
