"""The error tree, and how a name is looked up in a registry."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class NLSLabError(Exception):
    """Base of every error that a user may meet; `status` is its HTTP status."""

    status = 500
    title = "Internal error"


class InvalidInput(NLSLabError, ValueError):
    """A value is outside what is accepted; the message says expected and got."""

    status = 422
    title = "Invalid input"


class UnknownName(InvalidInput):
    """A name is in none of the registries."""

    title = "Unknown name"


class UnknownModel(UnknownName):
    """No model of that id is in the models folder."""

    status = 404
    title = "Unknown model"


class ImageRejected(InvalidInput):
    """The bytes are not an image that we decode, or one beyond the limits."""

    title = "Image rejected"


class TooLarge(InvalidInput):
    """An upload is over the byte cap."""

    status = 413
    title = "Upload too large"


class CheckpointError(NLSLabError):
    """A checkpoint is missing, damaged or altered."""

    title = "Checkpoint unusable"


class Collapsed(NLSLabError):
    """A trained network has learnt nothing: it names one class, or answers worse than before."""

    title = "Training collapsed"


class NotWritten(NLSLabError):
    """A file could not be written, as on a full disk; what it held before is whole."""

    status = 507
    title = "File not written"


class DatasetMissing(NLSLabError):
    """A data set is not on this machine; the message holds the command that gets it."""

    title = "Data set missing"


class ExtraMissing(NLSLabError):
    """A package of an optional extra is not installed; the message holds the command."""

    status = 501
    title = "Optional package missing"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what}; install it with: pip install 'nls-lab[{extra}]'")


def need(extra: str, *packages: str) -> None:
    """Tell before the work begins that packages of an extra are missing.

    Raises:
        ExtraMissing: one is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ExtraMissing(f"{package} is needed here, and not installed", extra)


class QueueFull(NLSLabError):
    """More work waits than the configured queue holds."""

    status = 503
    title = "Queue full"


class TooMany(NLSLabError):
    """One client asks more often than this deployment allows."""

    status = 429
    title = "Too many requests"


class BackendDown(NLSLabError):
    """The server that computes for this one cannot be reached, or does not answer as it should."""

    status = 503
    title = "Backend unreachable"


class TooCostly(InvalidInput):
    """A request would compute longer than this deployment allows."""

    title = "Too costly"


class Overdue(NLSLabError):
    """A computation took longer than this deployment allows and was stopped."""

    status = 503
    title = "Overdue"


class Departed(NLSLabError):
    """Whoever asked has left; the work was stopped. Nobody reads the answer."""

    status = 499
    title = "Client gone"


class DiskFull(NLSLabError):
    """The server has no room left for an upload or an export."""

    status = 507
    title = "Disk full"


def choose(kind: str, name: str, options: Mapping[str, T]) -> T:
    """Look a name up in a registry, or say which names there are.

    Raises:
        UnknownName: `name` is not a key of `options`.
    """
    try:
        return options[name]
    except (KeyError, TypeError):
        raise UnknownName(unknown(kind, name, options)) from None


def shown(value: object, longest: int = 80) -> str:
    """A value as messages repeat it: its repr, cut; what strangers send is not echoed whole."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def unknown(kind: str, name: object, options: Iterable[str]) -> str:
    """The sentence for a name that is not one of `options`."""
    return f"unknown {kind} {shown(name)}; expected one of {sorted(options)}"


def brief(error: object, limit: int = 200) -> str:
    """What an error says, in one line of at most `limit` characters."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


class Interrupted(Exception):
    """Ctrl-C or SIGTERM (its `number`) ended the work; what is done is saved."""

    quiet = False  # another process of the group says so

    def __init__(self, number: int, saved: str) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}; {saved}")
