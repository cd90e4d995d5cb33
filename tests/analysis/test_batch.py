"""Many pictures, one after another."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from nls_core.analysis import batch
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.analysis.results import AnalysisRequest
from nls_core.errors import Departed, InvalidInput, QueueFull
from nls_core.views import batch_html
from tests.conftest import TINY, picture_bytes

BIG = 10_000_000


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/a/one.png", picture_bytes())
        archive.writestr("set/B/=two.png", picture_bytes(50, 70))
        archive.writestr("set/nothing/three.png", picture_bytes(40, 40))
        archive.writestr("set/broken.png", picture_bytes()[:100])
        archive.writestr("../four.png", picture_bytes())
    return path


def test_each_picture_is_answered_as_alone(analyzer: Analyzer, packed: Path) -> None:
    found = batch.sources([packed], BIG)
    steps = list(batch.run(analyzer, found, TINY))
    assert [each.done for each in steps] == [0, 1, 2, 3, 4, 5]
    last = steps[-1]
    assert [row.name for row in last.rows] == ["one.png", "=two.png", "three.png"]
    assert [row.truth for row in last.rows] == [0, 1, None]
    assert [name for name, _ in last.refused] == ["broken.png", "four.png"]
    alone = analyzer.analyze(picture_bytes(), AnalysisRequest(TINY, epsilons=(), flip_point=True))
    for answer, model in zip(last.rows[0].answers, alone.models, strict=True):
        np.testing.assert_array_equal(answer.prediction.logits, model.prediction.logits)
        assert answer.flip == model.flip_point
    assert "No class is called 'nothing'" in batch.unknown_labels(found, last.manifests[0].classes)


def test_labels_csv_goes_before_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").write_bytes(b"x")
    (tmp_path / batch.LABELS).write_text("file,label\nb.png, c \n", encoding="utf-8-sig")
    found = batch.of_folder(tmp_path, BIG)
    assert [(each.name, each.label) for each in found] == [("a.png", "a"), ("b.png", "c")]
    (tmp_path / batch.LABELS).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="CSV in UTF-8"):
        batch.of_folder(tmp_path, BIG)


def test_none_and_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="got none"):
        batch.of_folder(tmp_path, BIG)
    with pytest.raises(InvalidInput, match="no longer kept"):
        batch.sources([tmp_path / "gone.png"], BIG)
    monkeypatch.setattr(batch, "MAX_PICTURES", 1)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InvalidInput, match="at most 1 pictures; got 2"):
        batch.of_folder(tmp_path, BIG)


def test_it_waits_where_the_queue_is_full_and_stops_for_who_left(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture_bytes())
    found, real, tried = batch.of_folder(tmp_path, BIG), analyzer.analyze, []

    def full_twice(*arguments: object) -> object:
        tried.append(1)
        if len(tried) < 3:
            raise QueueFull("full")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "PAUSE", 0)
    monkeypatch.setattr(analyzer, "analyze", full_twice)
    assert len(list(batch.run(analyzer, found, TINY, flips=False))[-1].rows) == 1
    assert len(tried) == 3
    token = VISITOR.set(Visitor("left", lambda: True))
    try:
        with pytest.raises(Departed):
            list(batch.run(analyzer, found, TINY, flips=False))
    finally:
        VISITOR.reset(token)


def test_reports_hold_the_numbers_and_escape_names(analyzer: Analyzer, tmp_path: Path) -> None:
    for label, name in (("a", "<b>.png"), ("b", "=1+1.png")):
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_bytes(picture_bytes())
    *_, known = batch.run(analyzer, batch.of_folder(tmp_path, BIG), TINY)
    page = batch_html.report(known, css="", script="")
    right = sum(row.truth == row.answers[0].prediction.index for row in known.rows)
    assert f"{right} of 2" in page
    assert page.count("<svg") == 2
    assert "<b>.png" not in page
    assert "&lt;b&gt;.png" in page
    lines = batch_html.numbers(known).splitlines()
    assert len(lines) == 1 + 2 * len(TINY)
    assert str(known.rows[0].answers[0].prediction.confidence) in lines[1]
    assert lines[3].startswith("'=1+1.png,b,")
