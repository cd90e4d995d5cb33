"""The app in a process of its own: how long it takes to be ready, and what it holds then."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nls_core.settings import ROOT

BOUNDARY = "b0undary"
MB = 1024  # of the kB that the kernel counts in
BROKEN = 0  # the status of what ended without an answer
PATIENCE = 300  # seconds until an app that does not answer counts as broken


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Site:
    """Where an app answers."""

    port: int
    host: str = field(default="127.0.0.1", kw_only=True)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request over a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, response.read(), found)
        finally:
            connection.close()


@dataclass(frozen=True)
class App(Site):
    """A running app; `wall` and `cpu` are the seconds that it took until it was ready."""

    process: subprocess.Popen[bytes]
    wall: float = 0.0
    cpu: float = 0.0

    def resident(self) -> float:
        """Megabytes of memory that the process has now, shared libraries included."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="utf-8")
        found = re.search(r"Rss:\s+(\d+) kB", text)
        return int(found.group(1)) / MB if found else 0.0

    def spent(self) -> float:
        """Processor time of the process so far, in seconds."""
        return _Stat.of(self.process.pid).seconds

    def spent_by_all(self) -> float:
        """That of the process and of all that it started, and those started, in seconds."""
        found = {pid: stat for pid in _pids() if (stat := _Stat.there(pid))}
        family = {self.process.pid}
        while more := {p for p, s in found.items() if s.parent in family} - family:
            family |= more
        return sum(found[pid].seconds for pid in family if pid in found)


@dataclass(frozen=True)
class _Stat:
    """What the kernel tells of a process: who started it, and its processor time so far."""

    parent: int
    seconds: float

    @classmethod
    def of(cls, pid: int) -> _Stat:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        fields = text.rpartition(")")[2].split()  # the name before may hold spaces
        ticks = int(fields[11]) + int(fields[12])
        return cls(int(fields[1]), ticks / os.sysconf("SC_CLK_TCK"))

    @classmethod
    def there(cls, pid: int) -> _Stat | None:
        """None for a process that has ended meanwhile."""
        try:
            return cls.of(pid)
        except OSError:
            return None


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


@contextmanager
def serving(
    command: Sequence[str] = ("app.py",), ready: str = "/readyz", **environment: str
) -> Iterator[App]:
    """A process that serves, from when `ready` answers with 200 until the block ends.

    Args:
        command: arguments of Python; it is told its port in NLS_PORT.
        ready: the route that says so.
        environment: further variables, such as NLS_MODELS_DIR.

    Raises:
        RuntimeError: it stopped, or did not answer within `PATIENCE`.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        own = {"NLS_PORT": str(port), "NLS_HOST": "127.0.0.1", "NLS_SCRATCH_DIR": folder}
        own["NLS_RATE_LIMIT"] = ""  # all who ask are one address
        begin = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | own | environment,
            stdout=subprocess.DEVNULL,  # --json prints there
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        app = App(port, process)
        try:
            while not _answers(app, ready):
                if process.poll() is not None or time.monotonic() - begin > PATIENCE:
                    raise RuntimeError(f"{' '.join(command)} did not come to answer {ready}")
                time.sleep(0.05)
            yield App(port, process, time.monotonic() - begin, app.spent())
        finally:
            process.terminate()
            process.wait(20)
            with suppress(ProcessLookupError):  # what it started and left, as LitServe does
                os.killpg(process.pid, signal.SIGKILL)


def _answers(app: App, path: str) -> bool:
    try:
        return app.ask("GET", path).status == 200
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def multipart(fields: Mapping[str, str | tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a multipart form; a pair is a file's name and content."""
    body = b""
    for name, value in fields.items():
        file, data = value if isinstance(value, tuple) else (None, value.encode())
        more = "" if file is None else f'; filename="{file}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
