"""Names under which the app answers, and pages that may post to it."""

from __future__ import annotations

import pytest

from nls_core.settings import Settings
from nls_core.web.bench.process import multipart
from nls_core.web.edge.trust import Hosts
from tests.security.served import API, Served

ROUTES = ["/healthz", "/docs", "/ui/", "/ui/config", "/api/v1/models", f"{API}/info", "/nowhere"]
POSTS = ["/api/v1/analyze", f"{API}/upload", f"{API}/queue/join", f"{API}/call/compare"]
EVIL = "evil.example"


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("host", [EVIL, f"{EVIL}:7860", "localhost.evil.example", "192.0.2.7", ""])
def test_unknown_hosts_are_refused_everywhere(served: Served, path: str, host: str) -> None:
    answer = served.ask("GET", path, headers={"Host": host})
    assert answer.status == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert "NLS_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:80", "me-lab.hf.space"])
def test_known_hosts_are_served(served: Served, host: str) -> None:
    assert served.ask("GET", "/healthz", headers={"Host": host}).status == 200


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": f"http://{EVIL}"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1", "Host": "localhost:2"},
        {"Origin": f"http://{EVIL}", "X-Forwarded-Host": EVIL},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_posts_of_other_sites_are_refused(
    served: Served, path: str, headers: dict[str, str]
) -> None:
    body, form = multipart({"files": ("a.txt", b"a")})
    answer = served.ask("POST", path, body, form | headers)
    assert answer.status == 403
    assert "page of this server" in answer.json()["detail"]


def test_rebinding_a_name_does_not_help(served: Served) -> None:
    both = {"Host": EVIL, "Origin": f"http://{EVIL}"}
    assert served.ask("POST", f"{API}/queue/join", {}, both).status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "me-lab.hf.space", "Origin": "https://me-lab.hf.space"},  # in huggingface.co
        {"Host": "localhost:7860", "Origin": "http://localhost:7860"},
        {
            "Host": "127.0.0.1:7860",
            "X-Forwarded-Host": "me-lab.hf.space",
            "Origin": "https://me-lab.hf.space",
        },
        {},
    ],
)
def test_posts_of_own_pages_pass(served: Served, headers: dict[str, str]) -> None:
    body, form = multipart({"files": ("a.txt", b"a")})
    assert served.ask("POST", f"{API}/upload", body, form | headers).status == 200


def test_no_other_site_may_read_the_answers(served: Served) -> None:
    headers = {"Host": "me-lab.hf.space", "Origin": f"http://{EVIL}"}
    answer = served.ask("GET", "/ui/config", headers=headers)
    assert not any(name.startswith("access-control-allow") for name in answer.headers)


def test_the_page_does_not_repeat_a_forwarded_name(served: Served) -> None:
    for name in ("X-Forwarded-Host", "X-Gradio-Server"):
        assert EVIL not in served.ask("GET", "/ui/config", headers={name: EVIL}).text
    assert "hf.space" not in served.ask("GET", "/docs", headers={"Host": "a.hf.space"}).text


def test_which_hosts_a_deployment_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_HOST", "lab.example.org")
    monkeypatch.setenv("NLS_ALLOWED_HOSTS", "Lab.example.com, *.example.net")
    local = Hosts(Settings(host="127.0.0.1"))
    everywhere = Hosts(Settings(host="0.0.0.0"))
    for host in ("lab.example.org", "lab.example.com:8000", "a.example.net", "LOCALHOST"):
        assert host in local
        assert host in everywhere
    assert "192.0.2.7:7860" not in local  # rebinding needs a name, so addresses are harmless,
    assert "192.0.2.7:7860" in everywhere  # and who listens to all is reached by them
    assert "[2001:db8::1]:7860" in everywhere
    assert EVIL not in everywhere
    assert "a@localhost" not in everywhere
    assert "192.0.2.8" in Hosts(Settings(host="192.0.2.8"))
    assert EVIL in Hosts(Settings(allowed_hosts=("*",)))
