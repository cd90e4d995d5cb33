"""Analyses that ship: as live ones, of these weights alone, and chosen by what was measured."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from nls_core.analysis import stored
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.examples import opening_file, read_examples, read_measured
from nls_core.analysis.results import Analysis, AnalysisRequest
from nls_core.errors import CheckpointError
from nls_core.settings import Settings
from nls_core.types import Manifest
from nls_core.views.sentences import TELLING
from tests.conftest import TINY, picture_bytes
from tests.helpers.scripts import script

SETTINGS = Settings(device="cpu", max_seconds=600)  # all strengths, on a busy machine
MEASURED = read_measured(SETTINGS)


def check_alike(got: Analysis, wanted: Analysis, *, exact: bool) -> None:
    """Compare two analyses; `exact`: of one computation, else of two machines."""
    close = 1e-6 if exact else 0.02
    assert got.request == wanted.request
    assert (got.geometry, got.notes) == (wanted.geometry, wanted.notes)
    np.testing.assert_array_equal(got.picture, wanted.picture)
    for a, b in zip(got.models, wanted.models, strict=True):
        assert a.manifest == b.manifest
        np.testing.assert_allclose(a.prediction.calibrated, b.prediction.calibrated, atol=close)
        assert (a.cam.method, a.cam.layer, a.cam.target_class) == (
            b.cam.method, b.cam.layer, b.cam.target_class
        )  # fmt: skip
        if exact:
            assert a.flip_point == b.flip_point
        elif a.flip_point and b.flip_point and a.flip_point.epsilon and b.flip_point.epsilon:
            # PGD's success need not grow with ε, so bisection may end elsewhere on another machine
            less, more = sorted((a.flip_point.epsilon, b.flip_point.epsilon))
            assert more - less <= 2.01 / 16 / 255 or math.log2(more / less) <= TELLING
        for p, q in zip(a.sweep, b.sweep, strict=True):
            assert p.epsilon == q.epsilon
            if exact:
                assert np.abs(p.adversarial - q.adversarial).max() <= 0.51 * p.epsilon / 127 + 1e-6
                np.testing.assert_array_equal(p.cam.values, q.cam.values)
                assert p.steps is not None
                assert q.steps is not None
                np.testing.assert_array_equal(p.steps, q.steps)
                assert p.success == q.success
                np.testing.assert_allclose(
                    p.prediction.probabilities, q.prediction.probabilities, rtol=1e-5, atol=1e-7
                )


def test_what_is_written_reads_back(analyzer: Analyzer, tmp_path: Path) -> None:
    request = AnalysisRequest(models=TINY, epsilons=(1 / 255, 8 / 255), steps=3, flip_point=True)
    wanted = analyzer.analyze(picture_bytes(), request)
    path = tmp_path / "opening.npz"
    stored.write(path, wanted)
    assert stored.about(path)["sha256"] == wanted.sha256
    check_alike(stored.read(path, picture_bytes(), analyzer.manifest), wanted, exact=True)

    def other(model_id: str) -> Manifest:
        return dataclasses.replace(analyzer.manifest(model_id), sha256="0" * 64)

    with pytest.raises(CheckpointError, match="other weights"):
        stored.read(path, picture_bytes(), other)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        stored.about(path)


def test_what_ships_is_answered_without_computing(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(models_dir=models_dir, static_dir=tmp_path, device="cpu")
    request = AnalysisRequest(models=TINY, epsilons=(1 / 255,), steps=1)
    live = Analyzer(settings)
    assert not live.has(picture_bytes(), request)
    wanted = live.analyze(picture_bytes(), request)
    path = opening_file(settings, "tiny")
    stored.write(path, wanted)
    fresh = Analyzer(settings)
    monkeypatch.setattr(fresh.lane, "run", None)  # would fail
    assert fresh.has(picture_bytes(), request)
    check_alike(fresh.analyze(picture_bytes(), request), wanted, exact=True)
    path.write_bytes(b"broken")
    assert not Analyzer(settings).has(picture_bytes(), request)


@pytest.mark.parametrize("family", MEASURED)
def test_the_shipped_analysis_is_what_a_live_run_finds(family: str) -> None:
    shipped, live = Analyzer(SETTINGS), Analyzer(SETTINGS)
    live.shelf.clear()
    data = MEASURED[family].opening.read_bytes()
    said = stored.about(opening_file(SETTINGS, family))["request"]
    request = AnalysisRequest(**said | {k: tuple(said[k]) for k in ("models", "epsilons")})
    assert request.models == shipped.pair(family)
    assert shipped.has(data, request), "run `make examples`: the weights have changed"
    points = [p for model in shipped.analyze(data, request).models for p in model.sweep]
    assert all(p.steps is not None for p in points), "run measure_examples.py --opening"
    # of the strengths some: each is computed by itself, and all of them take half a minute
    part = dataclasses.replace(request, epsilons=request.epsilons[::5])
    check_alike(shipped.analyze(data, part), live.analyze(data, part), exact=False)


@pytest.mark.parametrize("family", MEASURED)
def test_the_opening_example_is_the_most_telling_of_those_measured(family: str) -> None:
    measure = script("measure_examples")
    known = MEASURED[family]
    examples = {e.path: e for e in read_examples(SETTINGS) if e.family == family}
    assert set(known.seen) == set(examples)
    fair = [path for path, seen in known.seen.items() if measure.may_open(examples[path], seen)]
    assert max(fair, key=lambda path: measure.difference(known.seen[path])) == known.opening
