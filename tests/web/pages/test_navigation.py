"""The pages, their addresses and the header, without a browser."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.datastructures import URL
from starlette.testclient import TestClient

from nls_core.settings import Settings
from nls_core.web.edge.middleware import SECURITY_HEADERS
from nls_core.web.pages import heads, navigation
from nls_core.web.pages.navigation import PAGES


@pytest.fixture(scope="module")
def app(models_dir: Path) -> Iterator[TestClient]:
    from nls_core.web.server import create_app

    async def make() -> FastAPI:  # outside a running loop Gradio opens loops and leaves them open
        return create_app(Settings(models_dir=models_dir, device="cpu"))

    with TestClient(asyncio.run(make())) as client:
        yield client


@pytest.mark.parametrize("title", PAGES)
def test_every_page_has_its_address_and_the_same_headers(app: TestClient, title: str) -> None:
    page = app.get(f"/ui/{navigation.slug(title)}")
    assert page.status_code == 200
    for name, value in SECURITY_HEADERS.items():
        assert page.headers[name] == value


def test_an_unknown_page_is_not_found(app: TestClient) -> None:
    assert app.get("/ui/no-such-page").status_code == 404


@pytest.mark.parametrize("title", [navigation.HOME_TITLE, *PAGES])
def test_the_header_marks_the_current_page_and_leads_to_all_others(
    app: TestClient, title: str
) -> None:
    html = navigation.header_html(title)
    links = re.findall(r"<nav.*</nav>", html)[0]
    named = dict(re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', links))
    assert list(named.values()) == [navigation.HOME_TITLE, *PAGES, "API"]
    assert re.findall(r"aria-current=page>([^<]+)<", links) == [title]
    for address in named:
        assert app.get(address).status_code == 200


def test_the_pages_hold_no_result_until_they_are_opened(app: TestClient) -> None:
    """So that the app's start does not wait for them: plots come with the load event."""
    config = app.get("/ui/config").json()
    for title in PAGES:
        inside = set(config["page"][navigation.slug(title)]["components"])
        plots = [c for c in config["components"] if c["id"] in inside and c["type"] == "plot"]
        assert all(plot["props"].get("value") is None for plot in plots)


def test_the_contents_of_a_page_lead_to_headings_that_are_there(app: TestClient) -> None:
    config = app.get("/ui/config").json()
    values = [str(c["props"].get("value")) for c in config["components"] if c["type"] == "html"]
    lists = [value for value in values if "nls-contents" in value]
    assert lists  # of the loss lab, which needs no report
    for each in lists:
        for place, key in re.findall('href="([^"#]+)#([^"]+)"', each):
            assert app.get(place).status_code == 200
            assert sum(f'id="{key}"' in value for value in values) >= 1, key


@pytest.mark.parametrize("title", [navigation.HOME_TITLE, *PAGES])
def test_a_preview_names_the_page_and_nothing_outside(app: TestClient, title: str) -> None:
    home = title == navigation.HOME_TITLE
    text = app.get("/ui/" if home else f"/ui/{navigation.slug(title)}").text
    head = text.partition("<head>")[2].partition("</head>")[0]
    assert re.findall("<title>(.*?)</title>", head) == [navigation.full_title(title)]
    assert len(re.findall('property="og:title"', head)) == 1
    about = re.findall('property="og:description" content="([^"]+)"', head)
    assert about == [navigation.ABOUT[title]]
    tags = "".join(re.findall("<meta[^>]*>", head))
    assert "radio" not in tags
    place = "/ui/" if home else f"/ui/{navigation.slug(title)}"
    assert re.findall('content="(http[^"]*)"', tags) == [  # and nothing outside
        f"http://testserver{place}",
        "http://testserver/preview.jpg",
    ]
    assert tags.count("http") == 2
    assert '<meta name="twitter:card" content="summary_large_image">' in tags


def test_the_picture_of_a_preview_is_there_and_small(app: TestClient) -> None:
    answer = app.get(heads.PICTURE)
    assert answer.headers["content-type"] == "image/jpeg"
    assert len(answer.content) < 150_000
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == heads.PICTURE_SIZE


def test_a_preview_has_the_address_that_was_asked_without_the_choices(app: TestClient) -> None:
    tags = heads.preview(URL("http://owner-lab.hf.space/ui/findings?__theme=dark"))
    assert re.findall('content="(http[^"]*)"', tags) == [
        "https://owner-lab.hf.space/ui/findings",
        "https://owner-lab.hf.space/preview.jpg",
    ]
    assert "<x" not in heads.preview(URL('http://testserver/ui/"><x'))


def test_an_address_with_a_slash_leads_to_the_page(app: TestClient) -> None:
    for title in PAGES:
        place = f"/ui/{navigation.slug(title)}"
        answer = app.get(f"{place}/?__theme=dark", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, f"{place}?__theme=dark")
    assert app.get("/ui/no-such-page/").status_code == 404


def test_the_documentation_has_the_header(app: TestClient) -> None:
    text = app.get("/docs?__theme=dark").text
    assert navigation.header_html(navigation.API).partition("<nav")[0][:24] in text
    assert 'href="/ui/findings?__theme=dark"' in text
    assert '<meta name="color-scheme" content="dark">' in text
    assert 'content="light dark"' in app.get("/docs?__theme=x%22%3E").text
    assert "Response List" not in text
    assert "list of ModelSummary" in text
    assert "<h2>Compare models on one picture <code>POST" in text
