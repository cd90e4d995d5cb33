"""The folder of uploads and exports: private, capped in bytes, and swept.

The page's library writes every upload and every picture that it shows into its upload folder, and
deletes none of them while it runs. Here they share one folder with the exports.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from nls_core.errors import DiskFull
from nls_core.settings import Settings

UPLOADS = "uploads"
EXPORTS = "exports"
EVERY = 60.0  # seconds between two sweeps of an idle app
log = structlog.get_logger("nls_core")


def folder(settings: Settings, name: str = "") -> Path:
    """The scratch folder or one of its parts, made where missing, for this user only.

    Raises:
        OSError: somebody else's file or folder is in its place.
    """
    root = Path(os.path.realpath(settings.scratch_dir.parent)) / settings.scratch_dir.name
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(
            f"expected {root} to be a folder of this user's; it is not: set NLS_SCRATCH_DIR"
        )
    (root / name).mkdir(exist_ok=True)
    return root / name


def fresh(settings: Settings, name: str) -> Path:
    """Where to write an export: a file name in a new folder, which is swept in time.

    Raises:
        DiskFull: the disk has no room.
    """
    check_free(settings)
    return Path(tempfile.mkdtemp(dir=folder(settings, EXPORTS))) / name


def check_free(settings: Settings, more: int = 0) -> None:
    """Refuse to write `more` bytes where too little would stay free.

    Raises:
        DiskFull: with how much is wanted and how much there is.
    """
    wanted = settings.min_free_bytes + more
    free = shutil.disk_usage(folder(settings)).free
    if free < wanted:
        raise DiskFull(
            f"expected {wanted:,} bytes free on the server's disk; got {free:,}: "
            "its operator has to make room, or set NLS_SCRATCH_DIR or NLS_MIN_FREE_BYTES"
        )


@dataclass(frozen=True)
class _File:
    path: Path
    size: int  # bytes on the disk
    changed: float  # seconds since the epoch


class Sweeper:
    """Deletes what is old, and the oldest where the folder is over its cap; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pinned: frozenset[Path] = frozenset()
        self._sweeping = threading.Lock()
        self._used: int | None = None  # bytes, by the last sweep and what was admitted since

    def pin(self) -> None:
        """Keep what is there now: the pictures that the page begins with."""
        self.pinned = frozenset(file.path for file in self._files())

    def count(self) -> int:
        """How many files there are."""
        return sum(1 for _ in self._files())

    def admit(self, more: int) -> None:
        """Make room for `more` bytes.

        Raises:
            DiskFull: there is none, though all that may go is gone.
        """
        check_free(self.settings, more)
        if self._used is None or self._used + more > self.settings.max_disk_bytes:
            self.sweep(more)
        assert self._used is not None  # noqa: S101 - the sweep counted
        if self._used + more > self.settings.max_disk_bytes:
            raise DiskFull(
                f"expected room for {more:,} bytes; got {self._used:,} in use of the "
                f"{self.settings.max_disk_bytes:,} for uploads (NLS_MAX_DISK_BYTES)"
            )
        self._used += more

    def sweep(self, more: int = 0) -> int:
        """Delete what is too old, then the oldest until `more` bytes fit; gives the bytes left."""
        with self._sweeping:
            files = sorted(self._files(), key=lambda file: file.changed)
            used = sum(file.size for file in files)
            old = time.time() - self.settings.scratch_seconds
            for file in files:
                over = used + more > self.settings.max_disk_bytes
                if file.path not in self.pinned and (over or file.changed < old):
                    with suppress(OSError):  # gone already
                        file.path.unlink()
                        used -= file.size
            self._drop_empty_folders(old)
            self._used = used
            return used

    def _files(self) -> Iterator[_File]:
        for directory, _, names in os.walk(folder(self.settings)):
            for name in names:
                path = Path(directory, name)
                with suppress(FileNotFoundError):
                    found = path.lstat()
                    # ctime, since a file that is moved here keeps its mtime
                    yield _File(path, found.st_blocks * 512, found.st_ctime)

    def _drop_empty_folders(self, old: float) -> None:
        for part in (UPLOADS, EXPORTS):
            for entry in os.scandir(folder(self.settings, part)):
                with suppress(OSError):  # not empty, or a file
                    if entry.stat().st_ctime < old:
                        os.rmdir(entry.path)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep now and then while an app runs."""
        task = asyncio.create_task(self._repeat())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _repeat(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.sweep)
            except OSError as error:
                log.error("sweep failed", kind=type(error).__name__, detail=error.strerror)
            await asyncio.sleep(EVERY)
