"""Commands are imported when they are asked for; what the help says of them is theirs."""

from __future__ import annotations

from importlib import import_module

import pytest
from typer.testing import CliRunner

from nls_core.cli.entry import COMMANDS, app


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_says_what_the_command_says(name: str) -> None:
    command = import_module(f"nls_core.cli.{name.replace('-', '_')}").command
    assert command.__doc__.strip().splitlines()[0] == COMMANDS[name]


def test_an_unknown_command_is_wrong_use() -> None:
    done = CliRunner().invoke(app, ["modles"])
    assert done.exit_code == 2
    assert "No such command 'modles'" in done.output
