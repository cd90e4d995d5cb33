"""Parts of analyses: computed once, put together as if they were computed together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.settings import Settings
from tests.conftest import TINY, picture_bytes

EPSILONS = tuple(n / 255 for n in (1, 2, 4))
WHOLE = AnalysisRequest(models=TINY, epsilons=EPSILONS, steps=3, flip_point=True)


@pytest.fixture
def fresh(models_dir: Path) -> Analyzer:
    return Analyzer(Settings(models_dir=models_dir, device="cpu"))


def test_what_was_computed_in_parts_is_the_whole(fresh: Analyzer, analyzer: Analyzer) -> None:
    data = picture_bytes()
    for epsilons, flips in (((), False), (EPSILONS[1:2], False), (EPSILONS, True)):
        request = dataclasses.replace(WHOLE, epsilons=epsilons, flip_point=flips)
        got = fresh.analyze(data, request)
        assert got.request == request
        assert [len(model.sweep) for model in got.models] == [len(epsilons)] * 2
    wanted = analyzer.analyze(data, WHOLE)  # keeps nothing: at once
    for a, b in zip(got.models, wanted.models, strict=True):
        assert a.flip_point == b.flip_point
        np.testing.assert_allclose(a.cam.values, b.cam.values, rtol=1e-5, atol=1e-6)
        for p, q in zip(a.sweep, b.sweep, strict=True):
            assert (p.epsilon, p.success) == (q.epsilon, q.success)
            np.testing.assert_allclose(p.adversarial, q.adversarial, atol=1e-6)
            np.testing.assert_allclose(p.cam.values, q.cam.values, rtol=1e-4, atol=1e-5)


def test_only_what_is_missing_is_computed(fresh: Analyzer) -> None:
    data, computed = picture_bytes(), []

    def watch(_done: float, what: str) -> None:
        computed.append(what)

    fresh.analyze(data, dataclasses.replace(WHOLE, epsilons=EPSILONS[:2], flip_point=False))
    known = fresh.kept(data, WHOLE)
    assert (known.epsilons, known.flip_point) == (EPSILONS[:2], False)
    assert not fresh.has(data, WHOLE)
    one = dataclasses.replace(WHOLE, models=TINY[:1], epsilons=EPSILONS[1:2], flip_point=False)
    assert fresh.has(data, one)
    assert fresh.analyze(data, one, watch).models[0].sweep[0].epsilon == EPSILONS[1]
    assert computed == []
    assert not fresh.has(picture_bytes(50), one)  # of another picture
    assert not fresh.has(data, dataclasses.replace(one, seed=1))
    fresh.analyze(data, WHOLE, watch)
    assert "flip point" in computed
    assert fresh.has(data, WHOLE)


def test_a_store_that_is_full_changes_no_answer(models_dir: Path) -> None:
    small = Analyzer(Settings(models_dir=models_dir, device="cpu", max_cache_bytes=5_000))
    for _ in range(2):
        answer = small.analyze(picture_bytes(), WHOLE)
        assert [point.epsilon for point in answer.models[1].sweep] == list(EPSILONS)
    assert small.computed.bytes <= 5_000


def test_models_beyond_the_limit_go_the_least_recently_used_first(models_dir: Path) -> None:
    request = AnalysisRequest(models=TINY, epsilons=(), steps=1)
    for limit, left in ((0, TINY[1:]), (10_000_000, TINY)):
        settings = Settings(models_dir=models_dir, device="cpu", max_model_bytes=limit)
        library = Analyzer(settings)
        answer = library.analyze(picture_bytes(), request)
        assert [model.manifest.id for model in answer.models] == list(TINY)
        assert library.in_memory() == left
