"""The answer's form: exact numbers, and pictures that show them."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from nls_core.analysis.results import Analysis
from nls_core.views import raster
from nls_core.web.rest.schemas import AnalysisResponse, analysis_response


@pytest.fixture(scope="module")
def answer(analysis: Analysis) -> dict[str, Any]:
    return json.loads(analysis_response(analysis).model_dump_json())


def pixels(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_numbers_survive_json_exactly(analysis: Analysis, answer: dict[str, Any]) -> None:
    for shown, model in zip(answer["models"], analysis.models, strict=True):
        answered = [shown["prediction"], *(point["prediction"] for point in shown["sweep"])]
        predictions = [model.prediction, *(point.prediction for point in model.sweep)]
        for got, wanted in zip(answered, predictions, strict=True):
            np.testing.assert_array_equal(
                np.array(list(got["probabilities"].values()), np.float32), wanted.probabilities
            )
            np.testing.assert_array_equal(
                np.array(list(got["calibrated_probabilities"].values()), np.float32),
                wanted.calibrated,
            )
            assert got["index"] == wanted.index
            assert got["label"] == model.manifest.classes[wanted.index]
            assert got["confidence"] == max(got["probabilities"].values())
            assert got["calibrated_confidence"] == wanted.calibrated_confidence
            assert got["temperature"] == model.manifest.temperature
        for got, point in zip(shown["sweep"], model.sweep, strict=True):
            assert (got["linf"], got["l2"], got["success"]) == (
                point.linf,
                point.l2,
                point.success,
            )
            assert got["epsilon"] == point.epsilon
            np.testing.assert_array_equal(np.float32(got["cam"]["values"]), point.cam.values)
        assert [point["epsilon_255"] for point in shown["sweep"]] == [1, 2, 4, 8]
        flips = [point["epsilon_255"] for point in shown["sweep"] if point["success"]]
        assert shown["flip_epsilon_255"] == min(flips, default=None)


def test_the_top_says_what_was_asked_and_where(analysis: Analysis, answer: dict[str, Any]) -> None:
    assert answer["schema"] == 1
    assert answer["request"]["epsilons_255"] == [1, 2, 4, 8]
    assert answer["request"]["models"] == list(analysis.request.models)
    assert answer["request"]["target_class"] is None
    assert answer["geometry"]["width"] == analysis.geometry.width
    assert tuple(answer["geometry"]["box"]) == analysis.geometry.box
    assert answer["notes"] == list(analysis.notes)
    assert answer["seconds"] == analysis.seconds


def test_maps_are_coloured_on_one_scale(analysis: Analysis, answer: dict[str, Any]) -> None:
    maps = [model.cam for model in analysis.models]
    maps += [point.cam for model in analysis.models for point in model.sweep]
    top = max(cam.values.max() for cam in maps)
    shown = [model["cam"] for model in answer["models"]]
    shown += [point["cam"] for model in answer["models"] for point in model["sweep"]]
    for got, cam in zip(shown, maps, strict=True):
        np.testing.assert_array_equal(pixels(got["png"]), raster.colour_map(cam.values, top))
    brightest = raster.colour_map(np.ones((1, 1), np.float32), 1.0)[0, 0]
    hits = [np.all(pixels(got["png"]) == brightest, axis=2).any() for got in shown]
    assert hits == [cam.values.max() > 0.998 * top for cam in maps]


def test_attacked_inputs_are_pictured_to_half_a_level(
    analysis: Analysis, answer: dict[str, Any]
) -> None:
    for shown, model in zip(answer["models"], analysis.models, strict=True):
        for got, point in zip(shown["sweep"], model.sweep, strict=True):
            levels = pixels(got["adversarial_png"])
            assert np.abs(levels / 255 - point.adversarial[0]).max() <= 0.5 / 255 + 1e-6


def test_the_steps_of_the_attack_are_told(analysis: Analysis, answer: dict[str, Any]) -> None:
    for shown, model in zip(answer["models"], analysis.models, strict=True):
        for got, point in zip(shown["sweep"], model.sweep, strict=True):
            assert point.steps is not None
            clean, after = model.prediction.index, point.prediction.index
            assert got["steps"]["reached_label"] == got["prediction"]["label"]
            assert got["steps"]["left"] == point.steps[:, clean].tolist()
            assert got["steps"]["reached"] == point.steps[:, after].tolist()
    aimed = dataclasses.replace(analysis.request, attack_target=2)
    told = analysis_response(dataclasses.replace(analysis, request=aimed)).models[0].sweep[0].steps
    assert told
    assert told.reached_label == analysis.models[0].manifest.classes[2]


def test_the_answer_reads_back_and_refuses_other_fields(
    analysis: Analysis, answer: dict[str, Any]
) -> None:
    assert AnalysisResponse.model_validate(answer) == analysis_response(analysis)
    with pytest.raises(ValidationError, match="extra"):
        AnalysisResponse.model_validate(answer | {"more": 1})
    with pytest.raises(ValidationError, match="frozen"):
        analysis_response(analysis).seconds = 1.0  # type: ignore[misc]  # that is the point
