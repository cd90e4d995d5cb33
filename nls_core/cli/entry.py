"""The `nls` command: exit status 0 fine, 2 wrong use, 1 failure with one clear line.

Stopped by a signal it is 128 and the signal's number, as shells have it: 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from nls_core.cli.terminal import err
from nls_core.errors import Interrupted, InvalidInput, NLSLabError

# name -> what `nls --help` says of it; `nls_core.cli.<name>.command`, with _ for -, is what runs
COMMANDS = {
    "models": "List the models with their measured accuracy and calibration.",
    "train": "Train one model into --out (also under torchrun), or a family with --grid or "
    "--family.",
    "evaluate": "Measure models on the test split: accuracy, calibration, shift, attacks, maps.",
    "add-model": "Take in a model made elsewhere: a network of a library, or a folder as in "
    "models/.",
    "verify": "Measure stored models again, from the weights, and compare with the "
    "committed results.",
    "data": "Make a data set in NLS_DATA_DIR; nothing is done again that is already there.",
    "findings": "Write the verdicts on the paper's claims, from the family's reports.",
    "serve": "Serve the web page and the REST API.",
    "compare": "Compare two models on one picture: a self-contained HTML report, or "
    "JSON on stdout.",
    "batch": "Models on many pictures; folders that are called as classes, or labels.csv, "
    "label them.",
    "soak": "Put mixed valid and hostile load on the app, and see what stays behind.",
    "bench": "Measure speed as ratios, side by side in one run, medians of several rounds.",
}


class Commands(TyperGroup):
    """Imports a command's module when it is asked for: help and `serve` wait for no other's."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=line) for name, line in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is to run; those of the group only know what the help says."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, None if listed is None else loaded(str(name)), rest


def loaded(name: str) -> Any:
    """A command of `COMMANDS`, imported."""
    alone = typer.Typer(add_completion=False)
    alone.command(name)(import_module(f"nls_core.cli.{name.replace('-', '_')}").command)
    return get_command(alone)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
CTRL_C = 130  # 128 + SIGINT, and what typer makes of it


@app.callback()
def nls() -> None:
    """See and check what normalized soft labels do to an image classifier."""


def main() -> None:
    """Run the command line; errors of ours become one line on stderr."""
    try:
        app()
    except InvalidInput as error:
        _fail(str(error), 2)
    except ValidationError as error:
        wrong = [
            f"NLS_{e['loc'][-1]}".upper() + f"={e['input']!r}: {e['msg']}" for e in error.errors()
        ]
        _fail("; ".join(wrong), 2)
    except Interrupted as error:
        if error.quiet:
            sys.exit(128 + error.number)
        _fail(str(error), 128 + error.number)
    except (NLSLabError, OSError) as error:
        _fail(str(error), 1)
    except SystemExit as error:
        if error.code == CTRL_C:
            _fail("stopped by SIGINT", CTRL_C)
        raise


def _fail(message: str, status: int) -> NoReturn:
    """One line on stderr, however long, and an exit status."""
    line = " ".join(message.split())
    err.print(f"nls: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)
