"""How often one client may ask, and how many may at once: what stops floods before they are read.

Turns, places and costs bound what is computed. Limits by address are advice: addresses may be
shared or changed.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from limits import RateLimitItem, parse_many
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from nls_core.errors import TooMany
from nls_core.web.edge.problems import problem
from nls_core.web.edge.reading import visitor_name

CLIENTS = 10_000  # whose counts are kept: about 3 MB
SITE = 64  # bits of an IPv6 address that one customer's machines share
CROWDED = "nls.crowded"  # where the scope of a request says that too many are connected
PROBES = ("/healthz", "/readyz", "/metrics")  # that this machine asks itself


class Recent(Storage):
    """Counts in the process's memory, of the latest clients.

    The memory of the library itself grows with the addresses, and starts a thread at each hit.
    """

    STORAGE_SCHEME = ["recent"]  # noqa: RUF012 - as the library declares it
    base_exceptions = ()

    def __init__(self, most: int = CLIENTS, now: Callable[[], float] = time.time) -> None:
        """`most` counts are kept; the oldest goes first."""
        super().__init__()
        self._most, self._now = most, now
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()  # and when they end

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count up; a window of `expiry` seconds begins with the first of it."""
        if self.get(key) == 0:
            self.clear(key)
            self._counts[key] = (0, self._now() + expiry)
            if len(self._counts) > self._most:
                self._counts.popitem(last=False)
        count, end = self._counts[key]
        self._counts[key] = (count + amount, end)
        return count + amount

    def get(self, key: str) -> int:
        """The count of the window that has not ended yet."""
        count, end = self._counts.get(key, (0, 0.0))
        return count if end > self._now() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, in seconds since the epoch."""
        return self._counts.get(key, (0, self._now()))[1]

    def check(self) -> bool:
        """It is always there."""
        return True

    def reset(self) -> int:
        """Forget all; gives how many there were."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget one."""
        self._counts.pop(key, None)


class RateLimit:
    """Refuse clients that ask too often, before anything is read, with a problem of status 429.

    Below `page` only POST counts: opening a page takes a hundred of its files. Health and metrics
    are free to this machine.
    """

    def __init__(
        self, app: ASGIApp, *, limit: str, page: str, storage: Storage | None = None
    ) -> None:
        """`limit` as in '120/minute', or several of them with ';' between."""
        self.app = app
        self.items = parse_many(limit)
        self.page = page
        self.limiter = FixedWindowRateLimiter(storage or Recent())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and not self._is_free(scope):
            client = client_name(scope)
            over = [item for item in self.items if not self.limiter.hit(item, client)]
            if over:
                await self._refuse(over, client, scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_free(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if _is_probe(scope):
            return True
        own = path == self.page or path.startswith(f"{self.page}/")
        return own and scope["method"] in ("GET", "HEAD")

    async def _refuse(
        self, over: list[RateLimitItem], client: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        ends = [self.limiter.get_window_stats(item, client).reset_time for item in over]
        wait = max(1, math.ceil(max(ends) - time.time()))
        most = f"{over[0].amount:,} requests in {over[0].get_expiry():,} s"
        detail = f"expected at most {most} from one address; got more: try again in {wait} s"
        answer = problem(
            scope, TooMany.status, detail, kind=TooMany, headers={"Retry-After": str(wait)}
        )
        await answer(scope, receive, send)


def crowded(app: Any) -> Any:
    """An app for a connection beyond the most that may be open: `Crowd` refuses what it asks."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        scope[CROWDED] = True
        await app(scope, receive, send)

    return marked


class Crowd:
    """Refuse what comes over connections beyond the most that may be open, with a 503.

    Health and metrics are free to this machine.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope.get(CROWDED) and not _is_probe(scope):
            detail = "too many connections are open; try again in a moment"
            headers = {"Connection": "close"}
            answer = problem(scope, HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)


def client_name(scope: Scope) -> str:
    """Whom a request counts against: its address, or the network of an IPv6 one."""
    name = visitor_name(scope)
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    if isinstance(address, ipaddress.IPv4Address):
        return name
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, SITE), strict=False))


def _is_probe(scope: Scope) -> bool:
    """Whether this machine asks how the app is."""
    if scope["type"] != "http" or scope["path"] not in PROBES:
        return False
    try:
        return ipaddress.ip_address(visitor_name(scope)).is_loopback
    except ValueError:
        return False
