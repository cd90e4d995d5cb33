"""The smoke test of a deployment, against the real app and against nothing."""

from __future__ import annotations

from tests.helpers.scripts import script

smoke = script("smoke")


def test_a_running_app_passes_and_nothing_fails(url: str) -> None:
    assert smoke.ask(url) == []
    assert smoke.ask("http://127.0.0.1:9") == list(smoke.CHECKS)
