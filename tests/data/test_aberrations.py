"""Wrong labels and long tails: as many as asked for, where they belong, by the seed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nls_core.data.aberrations import KINDS, PAIRS, aberrant, long_tailed
from nls_core.data.datasets import FASHION_CLASSES, Data
from nls_core.errors import InvalidInput, UnknownName

quick = settings(max_examples=25, deadline=None)
EVEN = st.sampled_from([2, 3, 10])
SEEDS = st.integers(0, 1000)


def clean(classes: int = 10, each: int = 40, name: str = "made") -> Data:
    """`each` images of every class, in turn; the first pixels say which image it is."""
    labels = torch.arange(classes * each) % classes
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = torch.arange(len(labels)) % 256, labels
    return Data(name, images, labels, tuple(f"c{k}" for k in range(classes)), "center-crop")


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def truth(data: Data) -> Tensor:
    return data.images[:, 0, 0, 1].long()


@quick
@given(SEEDS, EVEN, st.floats(0, 1))
def test_symmetric_noise_is_the_share_and_never_the_own_label(
    seed: int, classes: int, share: float
) -> None:
    data = clean(classes)
    noisy = aberrant(data, label_noise=share, generator=drawn(seed))
    assert int((noisy.labels != data.labels).sum()) == round(share * len(data))
    assert torch.equal(noisy.images, data.images)
    assert 0 <= int(noisy.labels.min()) <= int(noisy.labels.max()) < classes
    assert torch.equal(data.labels, truth(data))  # the clean data are left as they are


def test_symmetric_noise_has_no_favourite() -> None:
    data = clean(each=2000)
    labels = KINDS["symmetric"](data, 0.5, drawn(0))
    moved = labels != data.labels
    counts = torch.bincount(10 * data.labels[moved] + labels[moved], minlength=100).view(10, 10)
    off = counts[~torch.eye(10, dtype=torch.bool)].double()
    expected = 10_000 / 90
    statistic = float((off - expected).square().sum() / expected)
    assert statistic < 135  # the 99.9 % point of χ² with 89 degrees of freedom


@quick
@given(SEEDS, EVEN, st.floats(0, 1))
def test_asymmetric_noise_is_the_next_class(seed: int, classes: int, share: float) -> None:
    data = clean(classes)
    labels = KINDS["asymmetric"](data, share, drawn(seed))
    moved = labels != data.labels
    assert torch.equal(labels[moved], (data.labels[moved] + 1) % classes)
    for label in range(classes):
        assert int(moved[data.labels == label].sum()) == round(share * 40)


def test_fashion_has_the_pairs_of_the_literature() -> None:
    data = replace(clean(name="fashion-mnist"), classes=FASHION_CLASSES)
    labels = KINDS["asymmetric"](data, 1.0, drawn(0))
    named = {
        FASHION_CLASSES[k]: FASHION_CLASSES[int(labels[data.labels == k].unique())]
        for k in range(10)
    }
    changed = {k: v for k, v in named.items() if k != v}
    assert changed == {
        "Ankle boot": "Sneaker", "Sneaker": "Sandal", "Pullover": "Shirt", "Coat": "Dress",
        "Dress": "Coat",
    }  # fmt: skip
    assert set(PAIRS) == {"fashion-mnist"}


@quick
@given(SEEDS, EVEN, st.floats(1, 1000))
def test_a_long_tail_follows_its_profile(seed: int, classes: int, imbalance: float) -> None:
    data = clean(classes)
    tail = aberrant(data, imbalance=imbalance, generator=drawn(seed))
    counts = torch.bincount(tail.labels, minlength=classes).tolist()
    assert counts[0] == 40
    assert counts == sorted(counts, reverse=True)
    for k, count in enumerate(counts):
        assert count == max(round(40 * imbalance ** (-k / (classes - 1))), 1)
    assert torch.equal(tail.labels, truth(tail))


def test_published_long_tails_have_these_sizes() -> None:
    """Cui et al. 2019: 5,000 images a class and ρ = 100 leave 12,406 of CIFAR-10's 50,000."""
    counts = torch.bincount(long_tailed(clean(each=5000), 100, drawn(0)).labels)
    assert counts[0] == 5000
    assert counts[-1] == 50
    assert abs(int(counts.sum()) - 12_406) <= 10  # they round down


def test_noise_comes_after_the_tail_and_images_of_a_group_keep_it() -> None:
    data = replace(clean(), groups=torch.arange(400) // 4)
    made = aberrant(
        data, label_noise=0.25, noise_kind="asymmetric", imbalance=4.0, generator=drawn(3)
    )
    assert made.groups is not None
    assert len(made.groups) == len(made) < 400
    wrong = made.labels != truth(made)
    for label in range(10):
        own = truth(made) == label
        assert int(wrong[own].sum()) == round(0.25 * int(own.sum()))


@quick
@given(SEEDS, st.sampled_from(sorted(KINDS)))
def test_one_seed_makes_one_data_set(seed: int, kind: str) -> None:
    made = [
        aberrant(
            clean(), label_noise=0.4, noise_kind=kind, imbalance=3.0, generator=drawn(each)
        ).labels
        for each in (seed, seed, seed + 1)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_without_aberrations_data_stay_as_they_are() -> None:
    data = clean()
    assert aberrant(data, generator=drawn(0)) is data
    assert torch.equal(aberrant(data, label_noise=0.0, generator=drawn(0)).labels, data.labels)
    assert len(aberrant(data, imbalance=1.0, generator=drawn(0))) == len(data)


@pytest.mark.parametrize(("share", "count"), [(1.0, 400), (0.25, 100), (1e-6, 1)])
def test_a_subset_is_a_share_of_the_images_in_their_order(share: float, count: int) -> None:
    data = clean()
    data = replace(data, images=torch.arange(400)[:, None, None, None])
    first, again, other = (
        aberrant(data, subset=share, generator=drawn(seed)).images.flatten() for seed in (0, 0, 1)
    )
    assert len(first) == count
    assert torch.equal(first, first.unique())
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (share == 1)


def test_refusals() -> None:
    for subset in (0.0, 1.5, float("nan")):
        with pytest.raises(InvalidInput, match=r"subset must lie in \(0, 1\]"):
            aberrant(clean(), subset=subset, generator=drawn(0))
    for noise in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match=r"label noise must lie in \[0, 1\]"):
            aberrant(clean(), label_noise=noise, generator=drawn(0))
    for imbalance in (0.5, float("nan")):
        with pytest.raises(InvalidInput, match="imbalance must be at least 1"):
            aberrant(clean(), imbalance=imbalance, generator=drawn(0))
    with pytest.raises(UnknownName, match="unknown kind of noise 'loud'"):
        aberrant(clean(), label_noise=0.1, noise_kind="loud", generator=drawn(0))
