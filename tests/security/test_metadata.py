"""What a file says beside its picture (where, when, by whom) is in nothing that is made of it."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient

from nls_core.views import panels
from tests.conftest import picture_bytes
from tests.helpers.rest import REQUEST, post

SECRET = "48.8584N 2.2945E"
DRAWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}


def told(kind: str) -> bytes:
    """A file whose metadata hold the secret, in each place that its format has."""
    picture, file = Image.open(io.BytesIO(picture_bytes())), io.BytesIO()
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x010E] = exif[0x013B] = SECRET
    exif[0x0112] = 1
    exif.get_ifd(0x8825)[29] = SECRET
    text.add_text("Comment", SECRET)
    text.add_itxt("XML:com.adobe.xmp", SECRET)
    more: dict[str, Any] = {"pnginfo": text} if kind == "PNG" else {"xmp": SECRET.encode()}
    more |= {"comment": SECRET} if kind == "JPEG" else {}
    picture.save(file, kind, exif=exif, icc_profile=SECRET.encode(), **more)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_no_answer_repeats_metadata(client: TestClient, api: FastAPI, kind: str) -> None:
    data = told(kind)
    assert data.count(SECRET.encode()) >= 3
    answer = post(client, data)
    assert answer.status_code == 200
    export = panels.report(api.state.analyzer.analyze(data, REQUEST), css="")
    for text in (answer.text, export):
        assert SECRET not in text
        pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
        assert len(pictures) >= 4
        for picture in map(base64.b64decode, pictures):
            assert SECRET.encode() not in picture
            assert chunks(picture) <= DRAWN


def chunks(png: bytes) -> set[bytes]:
    """The kinds of chunks of a PNG file."""
    found, at = set(), 8
    while at < len(png):
        found.add(png[at + 4 : at + 8])
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return found
