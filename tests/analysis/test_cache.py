"""What is kept, and what goes first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nls_core.analysis.cache import PLACE, Store, nbytes
from nls_core.analysis.results import Analysis


def test_all_arrays_of_an_analysis_count(analysis: Analysis) -> None:
    swept = sum(p.adversarial.nbytes for m in analysis.models for p in m.sweep)
    maps = sum(p.cam.values.nbytes for m in analysis.models for p in m.sweep)
    least = swept + maps + analysis.x.nbytes + analysis.picture.nbytes
    assert least < nbytes(analysis) < 1.2 * least


def test_texts_count_as_they_are_kept() -> None:
    plain, greek = "e" * 10_000, "ε" * 10_000
    assert 10_000 < nbytes(plain) < 10_100
    assert 20_000 < nbytes((greek,)) < 20_200


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 120)), max_size=30))
def test_the_limit_holds_and_the_last_used_stay(puts: list[tuple[str, int]]) -> None:
    store: Store[np.ndarray[tuple[int], np.dtype[np.uint8]]] = Store(100 + 6 * PLACE)
    kept: dict[str, int] = {}
    for key, size in puts:
        store.put(key, np.zeros(size, np.uint8))
        kept.pop(key, None)
        kept[key] = size + PLACE
        while sum(kept.values()) > 100 + 6 * PLACE:
            kept.pop(next(iter(kept)))
        assert store.bytes == sum(kept.values())
        for name in "abcdef":
            assert (store.get(name) is not None) == (name in kept)
        kept = {name: kept[name] for name in "abcdef" if name in kept}  # `get` uses them in turn


def test_what_is_not_kept_is_made_once() -> None:
    store: Store[str] = Store(10 * PLACE)
    made: list[int] = []

    def make() -> str:
        made.append(len(made))
        return f"text {len(made)}"

    assert [store.get_or_make("a", make) for _ in range(3)] == ["text 1"] * 3
    assert store.get_or_make("b", make) == "text 2"
    small: Store[str] = Store(0)  # keeps nothing, and still answers
    assert small.get_or_make("a", make) == "text 3"
    assert small.get("a") is None
