"""What is kept of visitors: their changes, and of the last ones only."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.blocks import BlocksConfig

from nls_core.web.pages.sessions import SESSIONS, Session, Sessions


@pytest.fixture
def holder() -> Sessions:
    """Sessions of a page of a menu, a state and a text, blocks 0 to 2."""
    found = (gr.Dropdown(["a", "b"], render=False), gr.State("nothing", render=False))
    config = BlocksConfig(SimpleNamespace(renderables=[]))  # type: ignore[arg-type]
    config.blocks = dict(enumerate([*found, gr.HTML("long", render=False)]))
    holder = Sessions()
    holder.set_blocks(SimpleNamespace(default_config=config, state_session_capacity=SESSIONS))  # type: ignore[arg-type]
    return holder


def test_changes_are_kept_by_visitor_and_values_are_not(holder: Sessions) -> None:
    menu, told, shown = range(3)
    mine = holder["mine"]
    mine[menu] = gr.Dropdown(["c"], render=False)
    mine._update_config(menu)  # noqa: SLF001 - Gradio's own way
    mine[told] = "something"
    mine._update_value_in_config(shown, "x" * 10_000)  # noqa: SLF001
    assert isinstance(mine, Session)
    assert holder["mine"] is mine
    assert mine[menu].choices == [("c", "c")]
    assert mine[told] == "something"
    assert holder["other"][menu].choices == [("a", "a"), ("b", "b")]
    assert holder["other"][told] == "nothing"
    assert shown in mine
    assert list(mine.components) == []


def test_the_least_recently_seen_go_first(holder: Sessions) -> None:
    for number in range(SESSIONS):
        holder[str(number)]
    first = holder["0"]
    for number in range(SESSIONS, SESSIONS + 5):
        holder[str(number)]
    assert holder["0"] is first
    assert "1" not in holder
    assert len(holder.session_data) == SESSIONS
