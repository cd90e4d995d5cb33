"""The real app in a process of its own, and a client that sends what browsers would not."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nls_core.settings import ROOT
from nls_core.web.bench.process import free_port, multipart

UI, API = "/ui", "/ui/gradio_api"
Form = dict[str, str | tuple[str, bytes]]  # of names; a pair is a file
PATIENCE = 240  # seconds for a start; 5 to 10 where nothing else runs
PLACES = 4  # of the app that the fixture `busy` starts


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A running app."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        """One request; a dictionary is sent as JSON."""
        given = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body)
            given.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            lower = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lower, response.read())
        finally:
            connection.close()

    def upload(self, data: bytes, name: str = "a.png") -> Answer:
        """Put a file into the page's upload folder."""
        return self.ask("POST", f"{API}/upload", *multipart({"files": (name, data)}))

    def call(self, data: list[Any], api: str = "compare") -> str:
        """Call a function of the page as scripts do; gives its events as text."""
        joined = self.ask("POST", f"{API}/call/{api}", {"data": data})
        assert joined.status == 200, joined.text
        return self.ask("GET", f"{API}/call/{api}/{joined.json()['event_id']}", timeout=60).text

    def lines(self) -> list[dict[str, Any]]:
        """The log so far; fails where a line is no JSON object."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        assert all(isinstance(line, dict) for line in lines)
        return lines


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Served]:
    """`python app.py` with a scratch folder, a log and further NLS_... settings of its own."""
    port = int(environment.get("NLS_PORT") or free_port())
    log = folder / f"log-{uuid.uuid4().hex}"
    own = {"NLS_PORT": str(port), "NLS_SCRATCH_DIR": str(folder / "scratch"), "NLS_RATE_LIMIT": ""}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NLS_")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env=kept | own | environment,
            stdout=out,
            stderr=out,
        )
    served = Served(port, log, process)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                served.ask("GET", "/healthz", timeout=2)
                break
            except OSError:
                assert process.poll() is None, f"stopped at the start: {log.read_text()[-2000:]}"
                assert time.monotonic() < deadline, f"the app did not answer in {PATIENCE} s"
                time.sleep(0.1)
        yield served
    finally:
        process.terminate()
        process.wait(20)
