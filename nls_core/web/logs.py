"""One JSON object a line on stderr, whoever writes: us, uvicorn, Gradio, asyncio or `print`.

No line holds where an upload lies or what it was called.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor

COMMON: tuple[Processor, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper("iso", utc=True),
    structlog.processors.format_exc_info,
)
log = structlog.get_logger("nls_core")


class Lines:
    """Renders events as JSON, with what lies below the scratch folder taken out."""

    def __init__(self, scratch: Path) -> None:
        places = {str(scratch), str(scratch.resolve())}
        # up to what ends a name in a message, a traceback or JSON; rather too much than too little
        self.private = re.compile(f"(?:{'|'.join(map(re.escape, places))})[^'\",\\n]*")

    def __call__(self, logger: object, name: str, event: EventDict) -> str:
        """The line of an event."""
        return json.dumps(self._clean(event), default=lambda value: self._clean(str(value)))

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.private.sub("(an upload)", value)
        if isinstance(value, Mapping):
            return {key: self._clean(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._clean(inner) for inner in value]
        return value


class _Printed(io.TextIOBase):
    """A stream whose lines are logged; libraries print what goes wrong in them."""

    def __init__(self, name: str) -> None:
        self._name, self._part = name, ""
        self._writing = threading.RLock()

    def write(self, text: str) -> int:
        with self._writing:
            *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            if line.strip():
                log.warning("printed", stream=self._name, text=line)
        return len(text)

    def writable(self) -> bool:
        return True


def configure(scratch: Path, stream: TextIO | None = None) -> None:
    """Make a serving process write nothing but lines of JSON.

    Args:
        scratch: the folder whose paths are kept out.
        stream: where to write; by default to what stderr is now.
    """
    out, lines = stream or sys.stderr, Lines(scratch)
    structlog.configure(
        processors=[*COMMON, lines], logger_factory=structlog.PrintLoggerFactory(out)
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=COMMON,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, lines],
        )
    )
    handler.addFilter(_worth_telling)
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # in the place of Python's own hooks, which print
    traceback.print_exc = _log_current
    sys.excepthook = lambda kind, error, trace: log.critical("stopped", exc_info=error)
    threading.excepthook = lambda args: log.error("thread stopped", exc_info=args.exc_value)
    sys.stdout, sys.stderr = _Printed("stdout"), _Printed("stderr")


def _log_current(limit: int | None = None, file: Any = None, chain: bool = True) -> None:
    """In the place of `traceback.print_exc`: Gradio prints with it what fails in an event."""
    if file is None or isinstance(file, _Printed):
        log.error("failed", exc_info=True)
    else:
        print(traceback.format_exc(), file=file)


def _worth_telling(record: logging.LogRecord) -> bool:
    """Cutting the page's event streams at the end is no error."""
    cause = record.exc_info[1] if record.exc_info else None
    return not isinstance(cause, asyncio.CancelledError)
