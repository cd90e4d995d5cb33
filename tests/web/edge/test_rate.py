"""How often one client may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.testclient import TestClient

from nls_core.settings import Settings
from nls_core.web.edge import rate
from nls_core.web.rest.api import create_api
from nls_core.web.server import configured
from tests.helpers.rest import check_problem, post

MODELS = "/api/v1/models"


def limited(models_dir: Path, limit: str, **settings: Any) -> FastAPI:
    return create_api(Settings(models_dir=models_dir, device="cpu", rate_limit=limit, **settings))


def ask(app: Any, address: str, path: str = MODELS, **headers: str) -> Any:
    """GET by a client of an address; `headers` with _ for -."""
    client = TestClient(app, client=(address, 1))
    return client.get(path, headers={name.replace("_", "-"): v for name, v in headers.items()})


def test_who_asks_too_often_is_told_when_to_come_back(models_dir: Path) -> None:
    client = TestClient(limited(models_dir, "3/hour"), client=("192.0.2.1", 1))
    assert [client.get(MODELS).status_code for _ in range(3)] == [200] * 3
    for answer in (client.get(MODELS), post(client), client.get("/healthz")):
        body = check_problem(answer, 429)
        assert body["type"] == "/docs#too-many-requests"
        assert "3 requests in 3,600 s" in body["detail"]
        assert 3590 <= int(answer.headers["retry-after"]) <= 3600
        assert answer.headers["x-request-id"]
    text = ask(client.app, "127.0.0.1", "/metrics").text
    assert 'nls_requests_total{method="POST",route="none",status="429"} 1.0' in text


def test_each_address_has_a_count_of_its_own(models_dir: Path) -> None:
    app = limited(models_dir, "1/hour")
    for first, same in (
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:1"),  # of one customer
        ("2001:db8:0:1::1", "2001:db8:0:1::2"),
        ("a name", "a name"),
    ):
        assert ask(app, first).status_code == 200
        assert ask(app, same).status_code == 429


def test_this_machine_asks_for_its_health_as_often_as_it_likes(models_dir: Path) -> None:
    app = limited(models_dir, "1/hour")
    for path in rate.PROBES:
        for address in ("127.0.0.1", "::1"):
            assert [ask(app, address, path).status_code for _ in range(3)] == [200] * 3
    assert [ask(app, "127.0.0.1").status_code for _ in range(2)] == [200, 429]
    assert [ask(app, "192.0.2.1", "/healthz").status_code for _ in range(2)] == [200, 429]


def test_a_pages_own_files_do_not_count(models_dir: Path) -> None:
    client = TestClient(limited(models_dir, "1/hour"))
    assert [client.get(f"/ui/assets/{n}.js").status_code for n in range(9)] == [404] * 9
    assert [client.post("/ui/x").status_code for _ in range(2)] == [404, 429]
    assert client.get("/uix").status_code == 429


def test_several_rates_hold_together(models_dir: Path) -> None:
    app = limited(models_dir, "2/day;1000/hour")
    assert [ask(app, "192.0.2.1").status_code for _ in range(3)] == [200, 200, 429]


def test_forwarded_addresses_are_believed_of_named_proxies_only(models_dir: Path) -> None:
    def served(*proxies: str) -> Any:
        settings = Settings(
            models_dir=models_dir, device="cpu", rate_limit="1/hour", trusted_proxies=proxies
        )
        config = configured(create_api(settings), settings)
        config.load()
        return config.loaded_app

    app = served()  # whoever claims to be somebody else is still the same
    claims = [ask(app, "127.0.0.1", x_forwarded_for=f"192.0.2.{n}").status_code for n in range(3)]
    assert claims == [200, 429, 429]
    app = served("10.0.0.0/8", "127.0.0.1")
    assert ask(app, "10.1.1.1", x_forwarded_for="192.0.2.1").status_code == 200
    assert ask(app, "127.0.0.1", x_forwarded_for="192.0.2.2, 10.2.2.2").status_code == 200
    # what a client puts before what the proxy adds does not count
    assert ask(app, "127.0.0.1", x_forwarded_for="198.51.100.9, 192.0.2.1").status_code == 429
    assert ask(app, "203.0.113.1", x_forwarded_for="192.0.2.3").status_code == 200
    assert ask(app, "203.0.113.1", x_forwarded_for="192.0.2.4").status_code == 429


def test_counts_end_and_are_few() -> None:
    now = [0.0]
    storage = rate.Recent(3, lambda: now[0])
    assert [storage.incr("a", 10) for _ in range(3)] == [1, 2, 3]
    now[0] = 9.9
    assert (storage.get("a"), storage.get_expiry("a")) == (3, 10)
    now[0] = 10
    assert storage.get("a") == 0
    assert storage.incr("a", 10) == 1
    assert storage.get_expiry("a") == 20
    for name in range(1000):
        storage.incr(str(name), 10)
    assert storage.get("a") == 0
    assert storage.get("999") == 1
    assert storage.reset() == 3


def test_which_limits_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLS_RATE_LIMIT")
    assert Settings().rate_limit == "1800/minute"
    monkeypatch.setenv("SPACE_ID", "someone/lab")
    assert Settings().rate_limit == ""
    monkeypatch.setenv("NLS_TRUSTED_PROXIES", "10.1.2.3/8, ::1")
    assert Settings().trusted_proxies == ("10.0.0.0/8", "::1/128")
    with pytest.raises(ValidationError, match="120/minute"):
        Settings(rate_limit="often")
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(trusted_proxies=("*",))
