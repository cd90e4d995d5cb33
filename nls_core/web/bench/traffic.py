"""What the visitors of a soak do: each kind is one function and one line in `KINDS`."""

from __future__ import annotations

import contextvars
import http.client
import io
import json
import random
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.web.bench import visitors
from nls_core.web.bench.load import ANALYZE
from nls_core.web.bench.process import BROKEN, Answer, Site, multipart
from nls_core.web.bench.visitors import API, JSON, UI, picture

TURNED_AWAY = (429, 503)  # with Retry-After: no fault
PICTURES = 400  # different ones, so that some are asked for again
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
LARGE_FAMILY = 0.1  # of the analyses, on models other than the smallest
DRIP_SECONDS = 2.0
Form = dict[str, "str | tuple[str, bytes]"]


# the kind of visitor whose requests a thread sends
KIND: contextvars.ContextVar[str] = contextvars.ContextVar("kind", default="watching")


@dataclass(frozen=True)
class Watched(Site):
    """A site whose answers are counted, by the kind of visitor and the status."""

    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    _noting: Any = field(default_factory=threading.Lock)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """As `Site.ask`; a connection that breaks counts as status 0."""
        try:
            answer = super().ask(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            answer = Answer(BROKEN, b"")
        self.note(answer.status)
        return answer

    def note(self, status: int) -> None:
        """Count an answer; thread-safe."""
        with self._noting:
            self.seen[KIND.get(), status] += 1


@dataclass(frozen=True)
class World:
    """Where the visitors are, and what they may ask for."""

    site: Watched
    families: Mapping[str, Sequence[str]]  # ids by family, the family of the smallest models first
    hostile: Sequence[bytes]  # files that hold no picture

    @classmethod
    def of(cls, site: Watched, hostile: Sequence[bytes] = ()) -> World:
        """What an app serves, with files of ours where there are no others."""
        families: dict[str, list[str]] = {}
        found = site.ask("GET", "/api/v1/models").json()
        for model in sorted(found, key=lambda model: int(model["input_size"])):
            families.setdefault(model["family"], []).append(model["id"])
        return cls(site, families, hostile or own_hostile())


def analyze(world: World, draw: random.Random) -> None:
    """A right request, of any attack and map, at strengths and steps that cost little."""
    world.site.ask("POST", ANALYZE, *multipart(_form(world, draw)))


def _form(world: World, draw: random.Random) -> Form:
    smallest, *others = world.families
    large = bool(others) and draw.random() < LARGE_FAMILY
    ids = world.families[draw.choice(others) if large else smallest]
    return {
        "image": ("a", _picture(draw)),
        "models": ",".join(draw.sample(ids, 1 if large else min(2, len(ids)))),
        "cam": "gradcam" if large else draw.choice([*CAMS]),
        "attack": draw.choice(["fgsm", "pgd-linf"]) if large else draw.choice([*ATTACKS]),
        "epsilons": draw.choice(["none", "1"] if large else ["none", "1", "2,8", "0.5,1,2,4"]),
        "steps": str(draw.randint(1, 3)),
        "seed": str(draw.randrange(3)),
    }


def _picture(draw: random.Random) -> bytes:
    """One of `PICTURES`, in its own format."""
    number, file = draw.randrange(PICTURES), io.BytesIO()
    with Image.open(io.BytesIO(picture(number))) as image:
        image.save(file, FORMATS[number % len(FORMATS)])
    return file.getvalue()


def hostile(world: World, draw: random.Random) -> None:
    """A file that is no picture, or one that would cost too much."""
    file = {"image": ("a.png", draw.choice(world.hostile))}
    world.site.ask("POST", ANALYZE, *multipart(_form(world, draw) | file))


def wrong(world: World, draw: random.Random) -> None:
    """A request that is wrong in one way."""
    draw.choice(MISTAKES)(world, draw)


def _field(**changed: str) -> Callable[[World, random.Random], object]:
    return lambda world, draw: world.site.ask(
        "POST", ANALYZE, *multipart(_form(world, draw) | changed)
    )


def _ask(
    method: str, path: str, body: Any = None, **headers: str
) -> Callable[[World, random.Random], Answer]:
    data = json.dumps(body).encode() if body is not None else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda world, draw: world.site.ask(method, path, data, (JSON if data else {}) | named)


MISTAKES: Sequence[Callable[[World, random.Random], object]] = (
    _field(models="no/such"),
    _field(models="../../etc"),
    _field(models=""),
    _field(cam="magic"),
    _field(attack="magic"),
    _field(layer="nowhere"),
    _field(epsilons="nan"),
    _field(epsilons="5000"),  # 256 is one, of an L2 norm
    _field(epsilons=",".join(["1"] * 17)),
    _field(steps="0"),
    _field(target_class="10000"),
    _field(seed="-1"),
    _ask("POST", ANALYZE, {"models": "x"}),
    _ask("POST", ANALYZE, content_type="multipart/form-data"),
    _ask("PUT", ANALYZE),
    _ask("GET", "/nowhere"),
    _ask("GET", "/api/v1/models/no/such"),
    _ask("GET", f"{API}/file=/etc/passwd"),
    _ask("GET", f"{API}/../../etc/passwd"),
    _ask("GET", "/healthz", Host="evil.example"),
    _ask("POST", f"{API}/queue/join", {"fn_index": 10**6, "data": [], "session_hash": "a"}),
    _ask("POST", f"{API}/queue/join", {"fn_index": 0, "data": [], "session_hash": "../a"}),
    _ask("POST", f"{API}/queue/join", {"data": {"path": "/etc/passwd"}}),
    _ask("POST", f"{API}/queue/join", {}, Origin="http://evil.example"),
    _ask("POST", f"{API}/call/compute", {"data": []}),
)
READ = (
    *("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/api/v1/models"),
    *(UI, f"{UI}config", f"{UI}calibration", f"{UI}robustness", f"{UI}findings", f"{UI}features"),
)


def read(world: World, draw: random.Random) -> None:
    """A page or a resource of REST."""
    ids = [model_id for each in world.families.values() for model_id in each]
    world.site.ask("GET", draw.choice([*READ, *(f"/api/v1/models/{i}" for i in ids[:4])]))


def page(world: World, draw: random.Random) -> None:
    """A session of Compare; every tenth compares a picture of their own."""
    try:
        visitors.visit(world.site, draw.randrange(PICTURES))
    except visitors.Refused:
        pass  # the app is busy, and says so
    except (RuntimeError, ValueError):  # an event that failed, or text that is no JSON
        world.site.note(BROKEN)


def drip(world: World, draw: random.Random) -> None:
    """A body that comes byte by byte, until the client gives up or is cut."""
    end = time.monotonic() + DRIP_SECONDS
    with suppress(OSError), _connected(world.site) as connection:
        path = draw.choice([ANALYZE, f"{API}/upload", f"{API}/queue/join"])
        connection.sendall(_head(world.site, path, "multipart/form-data; boundary=b", 100_000))
        while time.monotonic() < end:
            connection.sendall(b"-")
            time.sleep(0.2)


def leave(world: World, draw: random.Random) -> None:
    """A client that asks for much, and is gone before the answer."""
    ids = next(iter(world.families.values()))
    form = {"models": ",".join(ids[:2]), "steps": "100", "epsilons": "0.001,0.002,0.003,0.004"}
    body, headers = multipart(_form(world, draw) | form | {"attack": "pgd-linf"})
    with suppress(OSError), _connected(world.site) as connection:
        head = _head(world.site, ANALYZE, headers["Content-Type"], len(body))
        connection.sendall(head + body)
        time.sleep(draw.uniform(0, 0.5))


def _connected(site: Site) -> socket.socket:
    return socket.create_connection((site.host, site.port), timeout=30)


def _head(site: Site, path: str, kind: str, length: int) -> bytes:
    lines = (f"POST {path} HTTP/1.1", f"Host: {site.host}", f"Content-Type: {kind}")
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


@dataclass(frozen=True)
class Kind:
    """How often a kind of visitor comes, of 100, and with which statuses it may be answered."""

    visit: Callable[[World, random.Random], None]
    share: int
    expected: Collection[int]


FAULTS = range(400, 500)
KINDS: dict[str, Kind] = {
    "analyze": Kind(analyze, 45, (200, *TURNED_AWAY)),
    "hostile": Kind(hostile, 20, (413, 422, *TURNED_AWAY)),
    "wrong": Kind(wrong, 12, (*FAULTS, *TURNED_AWAY)),
    "read": Kind(read, 8, (200, 307, *TURNED_AWAY)),
    "page": Kind(page, 7, (200, *TURNED_AWAY)),
    "drip": Kind(drip, 3, ()),
    "leave": Kind(leave, 5, ()),
}


def own_hostile() -> list[bytes]:
    """A few files of each bad sort; `--files` of `nls soak` takes more."""
    png = picture(0)
    starts = (b"\xff\xd8\xff", png[:8], b"RIFF\x40\0\0\0WEBP", b"GIF89a", b"BM")
    noise = random.Random(0).randbytes(2_000)
    files = [png[: len(png) * tenth // 10] for tenth in range(10)]
    files += [start + noise for start in starts]
    files += [start + png for start in starts if not png.startswith(start)]
    files += [
        _png_of(*size) for size in ((40_000_000, 1), (1, 40_000_000), (0, 9), (65_535, 65_535))
    ]
    files += [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"PK\x03\x04" + noise,
        bytes(10_000_001),
    ]
    return files


def _png_of(width: int, height: int) -> bytes:
    """A PNG that claims to be of a size."""
    png = picture(0)
    head = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + head + struct.pack(">I", zlib.crc32(head)) + png[33:]
