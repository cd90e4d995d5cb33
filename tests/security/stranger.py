"""What a stranger can send to the page: Gradio's own protocol, by hand."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.security.served import API, Answer, Served


def file(path: str) -> dict[str, Any]:
    """How a body names a file."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@dataclass
class Stranger:
    """A client of the page with a session of its own."""

    app: Served
    session: str = field(default_factory=lambda: uuid.uuid4().hex[:11])

    def event(self, api_name: str) -> int:
        """The number of an event by its name; private ones have one too."""
        events = self.app.ask("GET", "/ui/config").json()["dependencies"]
        return next(e["id"] for e in events if e["api_name"] == api_name)

    def join(self, number: int, data: list[Any]) -> Answer:
        """Queue an event up, without listening for what comes of it."""
        body = {"fn_index": number, "data": data, "session_hash": self.session}
        return self.app.ask("POST", f"{API}/queue/join", body)

    def listen(self) -> dict[str, Any]:
        """The answer of the event that was joined."""
        address = f"{API}/queue/data?session_hash={self.session}"
        text = self.app.ask("GET", address, timeout=60).text
        messages = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
        done = [message for message in messages if message["msg"] == "process_completed"]
        assert done, text[-500:]
        answer: dict[str, Any] = done[-1]
        return answer

    def ask(self, number: int, data: list[Any]) -> dict[str, Any]:
        """Join, and wait for the answer."""
        joined = self.join(number, data)
        assert joined.status == 200, joined.text
        return self.listen()

    def upload(self, data: bytes, name: str = "a.png") -> dict[str, Any]:
        """Put a file into the page's upload folder; how a body names it."""
        answer = self.app.upload(data, name)
        assert answer.status == 200, answer.text
        return file(answer.json()[0])


def memory(app: Served) -> float:
    """Resident megabytes of the app's process."""
    status = Path(f"/proc/{app.process.pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1000
