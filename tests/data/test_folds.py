"""Folds: near-duplicates together, classes spread evenly, always the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nls_core.data.folds import FOLDS, NEAR, Stamp, fold, group, perceptual_hash

FAR = [(0, 0), (2**64 - 1, 2**64 - 1), (2**32 - 1, 2**32 - 1)]


def stamp(source: str, label: str = "animal") -> Stamp:
    return Stamp(f"{label}/{source}", label, source, "photo")


def test_names_that_differ_in_a_last_number_are_one_group() -> None:
    found = [stamp("a/frog-1.png"), stamp("b/Frog.png"), stamp("a/toad.png")]
    assert group(found, FAR) == [0, 0, 1]
    other = [stamp("a/frog-1.png"), stamp("b/Frog.png", "food"), stamp("a/toad.png")]
    assert group(other, FAR) == [0, 1, 2]


def test_near_hashes_are_one_group_mirrored_too_and_chains_join() -> None:
    found = [stamp(f"{name}.png") for name in ("duck", "goose", "swan")]
    near, far = 2**NEAR - 1, 2**40 - 1  # bits set: NEAR and 40, against none
    assert group(found, [(0, 0), (near, far), (far, far)]) == [0, 0, 1]
    assert group(found, [(0, 0), (far, near), (far << 20, far << 20)]) == [0, 0, 1]
    assert group(found, [(0, 0), (near, near), (near << NEAR | near, far)]) == [0, 0, 0]
    assert group(found, [(0, 0), (2 * near + 1, far), (far << 20, far << 20)]) == [0, 1, 2]


def test_the_hash_outlives_scaling_and_tells_shapes_apart() -> None:
    rng = np.random.default_rng(0)
    one, other = (
        Image.fromarray(rng.integers(0, 256, (6, 6, 4), dtype=np.uint8)).resize((90, 80))
        for _ in range(2)
    )
    own = perceptual_hash(one)
    assert (own ^ perceptual_hash(one.resize((45, 40)))).bit_count() <= NEAR
    assert (own ^ perceptual_hash(other)).bit_count() > NEAR
    assert perceptual_hash(Image.new("RGBA", (50, 50), "red")) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=60))
def test_groups_stay_whole_and_classes_are_spread(pairs: list[tuple[str, int]]) -> None:
    labels = [label for label, _ in pairs]
    groups = ["abc".index(label) * 10 + number for label, number in pairs]
    folds = fold(labels, groups)
    assert folds == fold(labels, groups)
    assert set(folds) <= set(range(FOLDS))
    for one in set(groups):
        assert len({f for f, g in zip(folds, groups, strict=True) if g == one}) == 1
    for label in set(labels):
        sizes = Counter(g for g, one in zip(groups, labels, strict=True) if one == label)
        counts = Counter(f for f, one in zip(folds, labels, strict=True) if one == label)
        spread = [counts[f] for f in range(FOLDS)]
        assert max(spread) - min(spread) <= max(sizes.values())
