"""Compare answers as it becomes known, and stops what nobody waits for any more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.errors import Departed
from nls_core.settings import Settings
from nls_core.web.pages.compare import ComparePage
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.visitors import Latest
from tests.conftest import picture_bytes


@pytest.fixture
def page(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComparePage:
    """A page on whose models 28 pixels count as large, with an upload."""
    monkeypatch.setattr("nls_core.web.pages.controls.LARGE", 8)

    async def build() -> ComparePage:  # in a loop, else Gradio makes one and leaves it open
        return ComparePage(Compare(Analyzer(Settings(models_dir=models_dir, device="cpu"))))

    built = asyncio.run(build())
    upload = tmp_path / "mine.png"
    upload.write_bytes(picture_bytes())
    built.start |= {"image": str(upload), "steps": 2}
    return built


def quiet(*_: Any, **__: Any) -> None:
    """A progress that shows nothing."""


QUIET: Any = quiet  # Gradio's own is a class


def given(page: ComparePage, **changed: Any) -> dict[Any, Any]:
    values = page.start | changed
    return {component: values[name] for name, component in page.inputs.items()}


def test_the_clean_answer_comes_first_and_the_rest_follows(page: ComparePage) -> None:
    clean, shown = page.answers.compute(given(page), QUIET)
    assert "attack is being computed" in clean[0]
    assert clean[2].count("being computed") == 2 * 4 * 2  # four pictures of two models, twice each
    assert "Under pgd-linf" not in clean[2]
    assert "being computed" not in shown[2]
    assert "flip point" not in shown[2]
    following, whole = page.answers.complete(given(page))
    assert "Further strengths" in following[0]
    assert "flip point" in whole[1]
    assert whole[-1].count("/255") > shown[-1].count("/255")  # more strengths in the table
    again = list(page.answers.complete(given(page)))
    assert len(again) == 1  # nothing is left, and nothing is drawn again


def test_another_strength_is_answered_at_once_and_kept(page: ComparePage) -> None:
    list(page.answers.compute(given(page), QUIET))
    assert not page.work.is_ready(page.start | {"epsilon": 7})
    moved = page.answers.show(given(page, epsilon=7))
    assert "attacked, ε = 7/255" in moved[1]
    assert page.work.is_ready(page.start | {"epsilon": 7})
    assert [point.epsilon * 255 for point in page.work.look(page.start).models[0].sweep] == (
        pytest.approx([4, 7])
    )


def test_what_was_drawn_is_the_same_text_for_everybody(page: ComparePage) -> None:
    analysis = page.work.look(page.start)
    first, second = (page.work.show(analysis, page.start) for _ in range(2))
    assert all(a is b for a, b in zip(first, second, strict=True))


def test_a_later_question_stops_the_one_before() -> None:
    latest = Latest(2)
    for name in ("one", "two"):
        token = VISITOR.set(Visitor(name))
        latest.begin()
        VISITOR.reset(token)
    token = VISITOR.set(Visitor("one"))
    try:
        with latest.while_latest():
            assert not VISITOR.get().gone()
            latest.begin()
            assert VISITOR.get().gone()
        assert not VISITOR.get().gone()
    finally:
        VISITOR.reset(token)


def test_work_that_was_replaced_ends_between_two_steps(page: ComparePage) -> None:
    page.answers.latest.begin()

    def replaced(_done: float, _what: str) -> None:
        page.answers.latest.begin()

    with pytest.raises(Departed), page.answers.latest.while_latest():
        page.work.analyze(page.start, replaced)
