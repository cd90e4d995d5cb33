"""What a stranger can send to the page: Gradio's own protocol, by hand."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx

API = "/ui/gradio_api"


@dataclass
class Stranger:
    """A client of the page at `url`, with a session of its own."""

    url: str
    session: str = field(default_factory=lambda: uuid.uuid4().hex[:11])

    def config(self) -> dict[str, Any]:
        """The page's components and events."""
        answer: dict[str, Any] = httpx.get(f"{self.url}/ui/config", timeout=30).json()
        return answer

    def event(self, api_name: str) -> dict[str, Any]:
        """An event by its name; private ones have one too."""
        return next(e for e in self.config()["dependencies"] if e["api_name"] == api_name)

    def join(self, fn_index: int, data: list[Any]) -> httpx.Response:
        """Queue an event up, without listening for what comes of it."""
        body = {"fn_index": fn_index, "data": data, "session_hash": self.session}
        return httpx.post(f"{self.url}{API}/queue/join", json=body, timeout=30)

    def listen(self, seconds: float = 60) -> dict[str, Any]:
        """The last message of the session's stream: the answer of the event that was joined."""
        last: dict[str, Any] = {}
        address = f"{self.url}{API}/queue/data?session_hash={self.session}"
        with httpx.stream("GET", address, timeout=seconds) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    message = json.loads(line.removeprefix("data: "))
                    if message["msg"] == "process_completed":
                        return message
                    last = message
        return last

    def ask(self, fn_index: int, data: list[Any]) -> dict[str, Any]:
        """Join, and wait for the answer."""
        joined = self.join(fn_index, data)
        joined.raise_for_status()
        return self.listen()

    def upload(self, name: str, data: bytes) -> str:
        """Put a file into Gradio's cache; its path there."""
        answer = httpx.post(f"{self.url}{API}/upload", files={"files": (name, data)}, timeout=30)
        answer.raise_for_status()
        return str(answer.json()[0])
