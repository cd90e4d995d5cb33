"""Scripted visitors of the Compare page, who speak Gradio's protocol as a browser does."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from nls_core.web.bench.process import Site, multipart

UI, API = "/ui/", "/ui/gradio_api"
JSON = {"Content-Type": "application/json"}
MOVES = 2  # of the ε slider, by each visitor
UPLOADS = 10  # every so many visitors one brings a picture of their own


BUSY = (429, 503)


class Refused(RuntimeError):
    """The app is busy, and says when to come back."""


class Visitor:
    """One browser with a session of its own, and the values of its controls."""

    def __init__(self, app: Site, config: Mapping[str, Any] | None = None) -> None:
        """`config` is what Gradio's page is made of; None opens the page and asks for it."""
        if config is None:
            page, answer = app.ask("GET", UI), app.ask("GET", f"{UI}config")
            if page.status != 200:
                raise RuntimeError(f"expected the page, got {page.status}")
            config = answer.json()
        self.app, self.session = app, uuid.uuid4().hex[:11]
        found = self._config = config
        self._events = {event["api_name"]: event for event in found["dependencies"]}
        self._controls = {part["id"]: dict(part["props"]) for part in found["components"]}

    def another(self) -> Visitor:
        """Another visitor of the same page, with a session of their own."""
        return Visitor(self.app, self._config)

    def control(self, label: str) -> dict[str, Any]:
        """The properties of a control of Compare by its label, or the beginning of it."""
        numbers = self._events["compute"]["inputs"]
        found = (self._controls[number] for number in numbers)
        return next(each for each in found if str(each.get("label")).startswith(label))

    def choose(self, label: str, value: Any) -> None:
        """Set a control, without telling the app."""
        self.control(label)["value"] = value

    def event(self, name: str) -> float:
        """Let a handler of the page run, and follow what it does to the controls.

        Returns:
            The seconds until its whole answer was there.
        """
        found = self._events[name]
        data = [self._controls[number].get("value") for number in found["inputs"]]
        body = {"fn_index": found["id"], "data": data, "session_hash": self.session}
        begin = time.perf_counter()
        joined = self.app.ask("POST", f"{API}/queue/join", json.dumps(body).encode(), JSON)
        if joined.status != 200:
            kind = Refused if joined.status in BUSY else RuntimeError
            raise kind(f"{name} was refused: {joined.status} {joined.body[:300]!r}")
        answer = self._listen()
        seconds = time.perf_counter() - begin
        for number, value in zip(found["outputs"], answer["data"], strict=True):
            if isinstance(value, dict) and value.get("__type__") == "update":
                self._controls[number].update(value)
        return seconds

    def _listen(self) -> dict[str, Any]:
        """The last message of an event: what it came to."""
        stream = self.app.ask("GET", f"{API}/queue/data?session_hash={self.session}").body
        lines = stream.decode().splitlines()
        messages = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        done = [each for each in messages if each["msg"] == "process_completed"]
        if not done or not done[-1]["success"]:
            kind = Refused if b"try again" in stream else RuntimeError
            raise kind(f"the page did not answer: {stream[-300:]!r}")
        last: dict[str, Any] = done[-1]["output"]
        return last

    def upload(self, data: bytes) -> dict[str, Any]:
        """Send a picture; gives the value of the picture's control."""
        answer = self.app.ask("POST", f"{API}/upload", *multipart({"files": ("a.png", data)}))
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def visit(app: Site, number: int) -> Visitor:
    """Open the page and move the slider; every tenth visitor compares a picture of their own.

    Args:
        app: where.
        number: of the visitor, 0, 1, …; decides what they do.
    """
    visitor = Visitor(app)
    slider = visitor.control("ε")
    for move in range(MOVES):
        slider["value"] = slider["step"] * ((number * MOVES + move) % 16 + 1)
        visitor.event("show")
    if number % UPLOADS == 0:
        own(visitor, picture(number))
    return visitor


def own(visitor: Visitor, data: bytes, family: str | None = None) -> float:
    """Compare a picture of one's own, by the family of the smallest models or by another.

    Returns:
        Seconds from the moment when the upload has arrived.
    """
    families = [value for _, value in visitor.control("Family")["choices"]]
    chosen = family or families[-1]
    if visitor.control("Family")["value"] != chosen:
        visitor.choose("Family", chosen)
        visitor.event("refill")
    visitor.choose("Your picture", visitor.upload(data))
    return visitor.event("compute")


def picture(seed: int, width: int = 60, height: int = 80) -> bytes:
    """A PNG of a dark shape on white, another one for each seed."""
    shade = np.full((height, width, 3), 255, np.uint8)
    inside = np.random.default_rng(seed).integers(40, 200, (height - 20, width - 20, 3))
    shade[10:-10, 10:-10] = inside
    file = io.BytesIO()
    Image.fromarray(shade).save(file, "PNG")
    return file.getvalue()
