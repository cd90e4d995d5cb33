"""Commands that need packages of an extra say so before they begin."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nls_core.errors import ExtraMissing, need
from tests.conftest import TINY
from tests.helpers.command import Nls

COMMANDS = {
    "train": ["--loss", "ce"],
    "evaluate": [TINY[0]],
    "verify": [TINY[0]],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_training_and_measuring_name_their_extra(
    nls: Nls, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in ("tensorboard", "torchmetrics") else real(name, *rest),
    )
    monkeypatch.chdir(tmp_path)
    ended = nls(command, *COMMANDS[command])
    assert ended.status == 1
    assert "pip install 'nls-lab[train]'" in ended.line
    assert [*tmp_path.iterdir()] == []  # nothing has begun


def test_what_is_there_is_not_asked_for() -> None:
    need("train", "pytest", "torch")
    with pytest.raises(ExtraMissing, match="no_such_package is needed"):
        need("train", "pytest", "no_such_package")
