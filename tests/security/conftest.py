"""The real app as a process, over the tiny models, for whoever attacks it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import browsing


@dataclass(frozen=True)
class Running:
    """Where the app answers, and its process."""

    url: str
    process: subprocess.Popen[bytes]

    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1000


@pytest.fixture(scope="module")
def app(models_dir: Path) -> Iterator[Running]:
    """The app over the tiny models, one at a time computing and a short queue."""
    settings = {"NLS_MODELS_DIR": str(models_dir), "NLS_MAX_QUEUE": "4", "NLS_DEVICE": "cpu"}
    with browsing.running(**settings) as (url, process):
        yield Running(url, process)
