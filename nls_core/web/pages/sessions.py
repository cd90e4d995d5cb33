"""What is kept of each visitor's page: what it changed, and no more.

Gradio 6.31 also keeps the configuration of every block for every visitor, with the values that it
shows, for deep links, which `gate` does not let through: half a megabyte and 30 ms of the event
loop each.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache

SESSIONS = 128  # visitors whose state is kept


class _Nothing(dict[int, Any]):
    """Keeps nothing."""

    def __setitem__(self, key: int, value: Any) -> None:
        pass


class Session(SessionState):
    """One visitor's changes: menus with other choices, and `gr.State`."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))  # type: ignore[arg-type]
        self.config_values = _Nothing()

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class Sessions(StateHolder):
    """The visitors by the hash of their session; the least recently seen go first."""

    def __getitem__(self, session_id: str) -> SessionState:
        """A visitor's session, a new one if there is none."""
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)


def bound(blocks: gr.Blocks) -> None:
    """Keep at most `SESSIONS` visitors, and what waits to be heard by as many; before mounting."""
    blocks.state_session_capacity = SESSIONS
    # answers of nobody must not pile up
    blocks._queue.pending_messages_per_session = LRUCache(SESSIONS)


def keep(app: App, blocks: gr.Blocks) -> None:
    """Let Gradio's own app keep `Sessions`."""
    app.state_holder = Sessions()  # type: ignore[no-untyped-call]
    app.state_holder.set_blocks(blocks)
