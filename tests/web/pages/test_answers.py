"""Compare answers as it becomes known, and stops what nobody waits for any more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.lane import VISITOR, Visitor
from nls_core.errors import Departed
from nls_core.settings import Settings
from nls_core.web.pages.compare import ComparePage
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.painting import Paint
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


def given(page: ComparePage, **changed: Any) -> dict[Any, Any]:
    values = page.start | changed
    return {component: values[name] for name, component in page.inputs.items()}


def test_the_clean_answer_comes_first_and_the_rest_follows(page: ComparePage) -> None:
    asked, clean, *told, shown = page.answers.compute(given(page))
    assert "nls-old" in asked[0]  # what is shown is of another picture
    assert "attack is being computed" in clean[0]
    assert "nls-old" not in clean[0]
    assert all("nls-busy" in each[0] for each in (asked, clean, *told))
    assert shown[0] == ""
    assert clean[2].count("being computed") == 2 * 4 * 2  # four pictures of two models, twice each
    assert "Under pgd-linf" not in clean[2]
    assert "being computed" not in shown[2]
    assert "flip point" not in shown[2]
    following, *_, whole = page.answers.complete(given(page))
    assert "Further strengths" in following[0]
    assert "flip point" in whole[1]
    assert whole[-1].count("/255") > shown[-1].count("/255")  # more strengths in the table
    again = list(page.answers.complete(given(page)))
    assert len(again) == 1  # nothing is left, and nothing is drawn again


def test_another_strength_is_answered_at_once_and_kept(page: ComparePage) -> None:
    list(page.answers.compute(given(page)))
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
        with pytest.raises(Departed), latest.while_latest():
            latest.begin()  # and no step comes after it
        with latest.while_latest():
            assert not VISITOR.get().gone()
        assert not VISITOR.get().gone()
    finally:
        VISITOR.reset(token)


def test_work_that_was_replaced_ends_between_two_steps(page: ComparePage) -> None:
    page.answers.latest.begin()

    def replaced(_done: float, _what: str) -> None:
        page.answers.latest.begin()

    with pytest.raises(Departed), page.answers.latest.while_latest():
        page.work.analyze(page.start, replaced)


def test_the_same_question_is_not_answered_twice(page: ComparePage) -> None:
    assert len(list(page.answers.compute(given(page)))) > 1
    (again,) = page.answers.compute(given(page))
    assert again == [gr.skip()] * 8
    assert len(list(page.answers.compute(given(page, steps=3)))) > 1
    assert len(list(page.answers.compute(given(page)))) == 1  # another one; it is kept, and drawn


def test_what_was_stopped_does_not_go_on_and_can_be_asked_again(page: ComparePage) -> None:
    answers = page.answers.compute(given(page))
    next(answers)
    assert "Stopped" in page.answers.stop()
    list(answers)
    (nothing,) = page.answers.complete(given(page))
    assert nothing == [gr.skip()] * 7
    # nor is it computed by what follows an answer
    data = given(page) | {page.focus.paint: Paint("another")}
    assert page.answers.frames(data) == page.focus.rescore(data) == gr.skip()
    assert page.focus.follow(data) == [gr.skip()] * 3
    assert not page.work.is_ready(page.start)
    assert list(page.answers.compute(given(page)))[-1][0] == ""
    assert page.work.is_ready(page.start)


@pytest.mark.parametrize("when", ["look", "show"])
def test_stopped_in_its_last_step_it_says_so_to_the_end(
    page: ComparePage, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = getattr(page.work, when)

    def last_step(*given: Any) -> Any:
        done = work(*given)
        page.answers.stop()
        return done

    answers = page.answers.compute(given(page))
    asked, _clean = next(answers), next(answers)
    assert "nls-busy" in asked[0]
    monkeypatch.setattr(page.work, when, last_step)
    *_, end = answers
    assert "Stopped" in end[0]
    assert end[2:] == [gr.skip()] * 6
    (nothing,) = page.answers.complete(given(page))
    assert nothing == [gr.skip()] * 7


def test_without_a_picture_the_old_answer_counts_no_more(page: ComparePage) -> None:
    (gone,) = page.answers.compute(given(page, image=None))
    assert "nls-old" in gone[0]
    assert "example" in gone[0]


def test_a_failed_question_can_be_asked_again(page: ComparePage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture_bytes()[:200])
    for _ in range(2):
        *_, failed = page.answers.compute(given(page, image=str(broken)))
        assert "nls-error" in failed[0]


def test_frames_hold_every_strength_once(page: ComparePage) -> None:
    list(page.answers.compute(given(page)))
    list(page.answers.complete(given(page)))
    held = json.loads(page.answers.frames(given(page)))
    analysis = page.work.look(page.start)
    assert [float(place) for place in held["frames"]] == pytest.approx(
        [0, *(e * 255 for e in analysis.request.epsilons)]
    )
    shown = page.work.show(analysis, page.start)[0]
    assert f'data-frames="{held["name"]}"' in shown
    for slot, text in held["frames"]["4"].items():  # the start's strength: what is shown already
        assert f'<div data-slot="{slot}">{text}</div>' in shown
    assert page.answers.frames(given(page)) == gr.skip()
