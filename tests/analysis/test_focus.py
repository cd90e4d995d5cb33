"""The focus score: where a mask lies in the model's frame, and what share of a map it holds."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from nls_core.analysis import focus
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import Analysis, CamMap
from nls_core.decode import decode_mask
from nls_core.errors import ImageRejected, InvalidInput, TooLarge
from nls_core.settings import Settings
from nls_core.types import Geometry
from nls_core.web.rest.schemas import analysis_response
from tests.conftest import picture_bytes
from tests.helpers.rest import ANALYZE, FORM, REQUEST, check_problem


def png(array: Any, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.asarray(array))
    (image.convert(mode) if mode else image).save(file, "PNG", **options)
    return file.getvalue()


def left_of(width: int, height: int, share: float = 0.5) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[:, : round(share * width)] = True
    return mask


def with_maps(analysis: Analysis, values: np.ndarray, **changes: Any) -> Analysis:
    """The analysis with this map in place of every other."""

    def change(cam: CamMap) -> CamMap:
        return dataclasses.replace(cam, values=values.astype(np.float32))

    models = tuple(
        dataclasses.replace(
            model,
            cam=change(model.cam),
            sweep=tuple(dataclasses.replace(p, cam=change(p.cam)) for p in model.sweep),
        )
        for model in analysis.models
    )
    return dataclasses.replace(analysis, models=models, **changes)


# --- masks in the frame ----------------------------------------------------------------------


def test_a_frame_that_is_the_picture_sees_the_mask() -> None:
    seen = focus.in_frame(left_of(40, 30), Geometry(40, 30, (0, 0, 40, 30)))
    assert seen.shape == (focus.GRID, focus.GRID)
    assert seen[:, : focus.GRID // 2].all()
    assert not seen[:, focus.GRID // 2 :].any()


def test_what_the_frame_holds_outside_the_picture_is_no_object() -> None:
    geometry = Geometry(100, 50, (0, -25, 100, 75))  # padded above and below
    seen = focus.in_frame(np.ones((50, 100), bool), geometry)
    quarter = focus.GRID // 4
    assert seen[quarter:-quarter].all()
    assert not seen[:quarter].any()
    assert not seen[-quarter:].any()


def test_what_lies_outside_the_frame_is_not_seen() -> None:
    geometry = Geometry(200, 100, (50, 0, 150, 100))
    assert not focus.in_frame(left_of(200, 100, 0.25), geometry).any()
    seen = focus.in_frame(left_of(200, 100), geometry)
    assert seen.double().mean() == 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 2, 5]))
def test_the_scale_of_the_mask_does_not_count(width: int, height: int, scale: int) -> None:
    generator = np.random.default_rng(width * 61 + height)
    mask = generator.random((height, width)) < 0.4
    # off the pixels' edges, where rounding decides
    geometry = Geometry(width * 3, height * 3, (-1.37, 0.61, width * 2.71, height * 3.3))
    large = mask.repeat(scale, 0).repeat(scale, 1)
    assert (focus.in_frame(mask, geometry) == focus.in_frame(large, geometry)).all()


# --- the score -------------------------------------------------------------------------------


def test_a_map_on_the_object_alone_has_a_focus_of_one(analysis: Analysis) -> None:
    values = np.zeros((8, 8))
    values[:, 0] = 1.0
    geometry = Geometry(80, 80, (0.0, 0.0, 80.0, 80.0))
    given = with_maps(analysis, values, geometry=geometry)
    found = focus.score(given, left_of(80, 80))
    assert found.area == 0.5
    for model in found.models:
        assert model.clean == 1.0
        assert model.attacked == (1.0,) * len(analysis.request.epsilons)
    away = focus.score(given, ~left_of(80, 80))
    assert [model.clean for model in away.models] == [0.0, 0.0]


def test_a_map_without_focus_gets_the_area(analysis: Analysis) -> None:
    for level in (0.0, 0.3):
        mask = left_of(analysis.geometry.width, analysis.geometry.height, 0.4)
        found = focus.score(with_maps(analysis, np.full((4, 4), level)), mask)
        assert 0.0 < found.area < 1.0
        for model in found.models:
            assert (model.clean, *model.attacked) == pytest.approx((found.area,) * 5)


def test_object_and_background_share_a_map(analysis: Analysis) -> None:
    whole = with_maps(
        analysis, analysis.models[0].cam.values, geometry=Geometry(80, 80, (0, 0, 80, 80))
    )
    parts = [focus.score(whole, mask) for mask in (left_of(80, 80, 0.3), ~left_of(80, 80, 0.3))]
    assert sum(part.area for part in parts) == pytest.approx(1)
    assert sum(part.models[0].clean for part in parts) == pytest.approx(1)


def test_masks_without_an_object_in_sight_are_refused(analysis: Analysis) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        focus.score(analysis, np.zeros((8, 8), bool))
    aside = dataclasses.replace(analysis, geometry=Geometry(80, 80, (40.0, 0.0, 80.0, 40.0)))
    with pytest.raises(InvalidInput, match=r"inside the frame .*40, 0, 80, 40"):
        focus.score(aside, left_of(80, 80, 0.2))


# --- masks as files --------------------------------------------------------------------------

SHAPE = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)


@pytest.mark.parametrize(
    ("mode", "level"), [("L", 255), ("L", 1), ("RGB", 255), ("RGB", 1), ("P", 1), ("1", 255)]
)
def test_without_transparency_what_is_not_black_is_the_object(mode: str, level: int) -> None:
    assert (decode_mask(png(SHAPE * level, mode)) == (SHAPE > 0)).all()


def test_with_transparency_what_is_not_transparent_is_the_object() -> None:
    black = np.zeros((2, 3, 4), np.uint8)
    black[..., 3] = SHAPE * 255
    assert (decode_mask(png(black)) == (SHAPE > 0)).all()
    black[..., 3] = 0
    assert not decode_mask(png(black)).any()
    painted = np.full((2, 3, 4), 255, np.uint8)
    assert decode_mask(png(painted)).all()


def test_deep_grey_masks_count_from_one() -> None:
    assert (decode_mask(png(SHAPE.astype(np.uint16))) == (SHAPE > 0)).all()


def test_other_files_are_no_masks() -> None:
    jpeg = io.BytesIO()
    Image.fromarray(SHAPE).save(jpeg, "JPEG")
    for data, what in ((jpeg.getvalue(), "type PNG, got a file of type JPEG"), (b"hello", "PNG")):
        with pytest.raises(ImageRejected, match=what):
            decode_mask(data)
    with pytest.raises(ImageRejected, match="damaged"):
        decode_mask(png(SHAPE)[:-20])
    with pytest.raises(ImageRejected, match="pixels"):
        decode_mask(png(SHAPE), max_pixels=5)
    with pytest.raises(TooLarge):
        decode_mask(png(SHAPE), max_bytes=5)


def test_a_mask_has_the_pictures_size_and_an_object() -> None:
    assert (focus.read_mask(png(SHAPE), (3, 2), Settings()) == (SHAPE > 0)).all()
    with pytest.raises(InvalidInput, match="6 × 2 pixels, got 3 × 2"):
        focus.read_mask(png(SHAPE), (6, 2), Settings())
    with pytest.raises(InvalidInput, match="empty one"):
        focus.read_mask(png(SHAPE * 0), (3, 2), Settings())


# --- REST ------------------------------------------------------------------------------------


def post(client: TestClient, mask: bytes) -> Any:
    files = {"image": ("picture.png", picture_bytes()), "mask": ("mask.png", mask)}
    return client.post(ANALYZE, data=FORM, files=files)


def test_rest_adds_the_focus_to_each_model(client: TestClient, analyzer: Analyzer) -> None:
    mask = left_of(60, 80, 0.6)
    response = post(client, png(mask.astype(np.uint8)))
    assert response.status_code == 200, response.text
    analysis = analyzer.analyze(picture_bytes(), REQUEST)
    wanted = focus.score(analysis, mask)
    for got, model in zip(response.json()["models"], wanted.models, strict=True):
        assert got["focus"] == {
            "area": pytest.approx(wanted.area),
            "clean": pytest.approx(model.clean, abs=1e-6),
            "attacked": pytest.approx(list(model.attacked), abs=1e-6),
        }
    assert {m.focus for m in analysis_response(analysis).models} == {None}


@pytest.mark.parametrize(
    ("mask", "status", "what"),
    [
        (png(np.ones((60, 80), np.uint8)), 422, "60 × 80 pixels, got 80 × 60"),
        (png(np.zeros((80, 60), np.uint8)), 422, "empty"),
        (png(np.ones((80, 60), np.uint8))[:40], 422, "damaged"),
        (b"", 422, "expected an image file of type PNG"),
        (picture_bytes()[:7] + b"x" * 20, 422, "save it as PNG"),
    ],
)
def test_bad_masks_are_problems(client: TestClient, mask: bytes, status: int, what: str) -> None:
    assert what in check_problem(post(client, mask), status)["detail"]


def test_a_large_mask_is_refused(models_dir: Any) -> None:
    from nls_core.web.rest.api import create_api

    small = Settings(models_dir=models_dir, device="cpu", max_upload_bytes=20_000)
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    with TestClient(create_api(small)) as client:
        check_problem(post(client, png(noise)), 413)
