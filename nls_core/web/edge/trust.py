"""Under which names the app answers, and from which pages it takes a POST.

Browsers let any website send a POST here, and a name that an attacker owns may be made to lead to
this machine (DNS rebinding): the `Host` header then holds that name, and all looks like one origin.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from nls_core.settings import Settings
from nls_core.web.edge.problems import problem

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SPACES = ("*.hf.space", "huggingface.co")  # names that nobody else can lead elsewhere
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
SAFE = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?", re.IGNORECASE)


class Hosts:
    """The names of a deployment: this machine's, a Space's, and those of NLS_ALLOWED_HOSTS.

    Who listens on all addresses is also reached by any IP address: rebinding needs a name.
    """

    def __init__(self, settings: Settings) -> None:
        own = () if settings.host in EVERYWHERE else (settings.host.lower(),)
        space = tuple(filter(None, (os.environ.get("SPACE_HOST", "").lower(),)))
        self.names: Sequence[str] = (*LOOPBACK, *own, *SPACES, *space, *settings.allowed_hosts)
        self.addresses = settings.host in EVERYWHERE

    def __contains__(self, host: object) -> bool:
        """Whether the app answers under a `Host` header's value."""
        name, _ = split_host(str(host))
        if not name:
            return "*" in self.names
        known = any(_fits(name, pattern) for pattern in self.names)
        return known or (self.addresses and _is_address(name))


def split_host(host: str) -> tuple[str, str]:
    """Name and port of a `Host` header, '' for what is not there or malformed."""
    found = _HOST.fullmatch(host)
    if found is None:
        return "", ""
    address, name, port = found.groups()
    return (address or name).lower(), port or ""


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return pattern in ("*", name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Trusted:
    """Answer under known names only, and refuse a POST that another website sends."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._host(scope, headers) or self._origin(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        self._drop_claims(scope)
        await self.app(scope, receive, send)

    def _host(self, scope: Scope, headers: Headers) -> Response | None:
        hosts = headers.getlist("host")
        if len(hosts) == 1 and hosts[0] in self.hosts:
            return None
        got = ", ".join(repr(host[:80]) for host in hosts[:2]) or "none"
        detail = (
            "expected a Host under which this server is known, such as localhost; "
            f"got {got}: its operator has to name the host in NLS_ALLOWED_HOSTS"
        )
        return problem(scope, HTTPStatus.MISDIRECTED_REQUEST, detail)

    def _origin(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] in SAFE:
            return None
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site") == "cross-site"
        if not foreign and (origin is None or self._same(origin, headers)):
            return None
        detail = (
            f"expected {scope['method']} from a page of this server, or from no page; "
            f"got the origin {(origin or 'another site')[:80]!r}"
        )
        return problem(scope, HTTPStatus.FORBIDDEN, detail)

    def _same(self, origin: str, headers: Headers) -> bool:
        """Whether an origin is this server: its Host, or the name that a proxy passes on."""
        page = urlsplit(origin)
        usual = {"http": "80", "https": "443"}.get(page.scheme)
        if usual is None:
            return False
        name, port = split_host(page.netloc)
        known = [headers["host"]]
        if (forwarded := headers.get("x-forwarded-host", "")) in self.hosts:
            known.append(forwarded)
        # behind a proxy the scheme here is not the page's, so a missing port is either usual one
        return bool(name) and any(
            name == own and (port or usual) == (own_port or usual)
            for own, own_port in map(split_host, known)
        )

    def _drop_claims(self, scope: Scope) -> None:
        """Gradio would write its addresses with these names, whoever sends them."""
        headers = MutableHeaders(scope=scope)
        if headers.get("x-forwarded-host", "") not in self.hosts:
            del headers["x-forwarded-host"]
        del headers["x-gradio-server"]
