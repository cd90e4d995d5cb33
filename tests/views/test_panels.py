"""The sentence and the rows of images."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from nls_core.analysis.examples import Seen, Story
from nls_core.analysis.results import Analysis, FlipPoint, ModelAnalysis, Prediction, SweepPoint
from nls_core.metrics import calibration
from nls_core.views import panels, report, sentences, stories
from nls_core.views.report import Origin
from nls_core.web.rest.schemas import analysis_response


def renamed(model: ModelAnalysis, label: str) -> ModelAnalysis:
    classes = (label, *model.manifest.classes[1:])
    return dataclasses.replace(model, manifest=dataclasses.replace(model.manifest, classes=classes))


def with_label(prediction: Prediction, index: int) -> Prediction:
    """The same numbers, reordered so that `index` is the most probable class."""
    order = list(range(len(prediction.logits)))
    order[index], order[prediction.index] = order[prediction.index], order[index]
    return Prediction(
        prediction.logits[order], prediction.probabilities[order], prediction.calibrated[order]
    )


def flipped_at(model: ModelAnalysis, step: int) -> ModelAnalysis:
    """The model with the label lost from one strength of the sweep on."""

    def change(i: int, point: SweepPoint) -> SweepPoint:
        index = (model.prediction.index + 1) % 10 if i >= step else model.prediction.index
        return dataclasses.replace(
            point, prediction=with_label(point.prediction, index), success=i >= step
        )

    sweep = tuple(change(i, p) for i, p in enumerate(model.sweep))
    return dataclasses.replace(model, sweep=sweep)


def test_the_sentence_tells_the_first_lost_strength(analysis: Analysis) -> None:
    first, second = analysis.models
    changed = dataclasses.replace(
        analysis, models=(flipped_at(first, 1), flipped_at(second, len(second.sweep)))
    )
    text = sentences.sentence(changed)
    before = first.manifest.classes[first.prediction.index]
    after = first.manifest.classes[(first.prediction.index + 1) % 10]
    assert f"the baseline flips from {before} to {after} at ε = 2/255" in text
    assert "for the candidate no label change was found up to ε = 8/255 by this attack" in text


def test_the_sentence_says_whether_the_models_agree(analysis: Analysis) -> None:
    first, second = analysis.models
    agreed = dataclasses.replace(
        second, prediction=with_label(second.prediction, first.prediction.index)
    )
    other = with_label(second.prediction, (first.prediction.index + 1) % 10)
    same = dataclasses.replace(analysis, models=(first, agreed))
    apart = dataclasses.replace(
        analysis, models=(first, dataclasses.replace(second, prediction=other))
    )
    assert sentences.sentence(same).startswith("Both say ")
    assert sentences.sentence(apart).startswith("The baseline says ")


@pytest.mark.parametrize("scale", panels.SCALES)
def test_a_result_has_six_described_images_per_model(analysis: Analysis, scale: str) -> None:
    html = panels.result(analysis, panels.View(2, scale))
    assert html.count("<img ") == 6 * len(analysis.models)
    assert len(re.findall(r'alt="[^"]+"', html)) == 6 * len(analysis.models)
    assert "4/255" in html


def test_scales_change_the_pictures(analysis: Analysis) -> None:
    shown = {scale: panels.result(analysis, panels.View(0, scale)) for scale in panels.SCALES}
    assert len(set(shown.values())) == len(panels.SCALES)


def test_names_are_escaped(analysis: Analysis) -> None:
    bad = "<script>alert(1)</script>"
    models = tuple(renamed(m, bad) for m in analysis.models)
    models = tuple(dataclasses.replace(m, prediction=with_label(m.prediction, 0)) for m in models)
    page = report.page(dataclasses.replace(analysis, models=models), Origin(bad), css="")
    assert bad not in page
    assert page.count("&lt;script&gt;alert(1)") > 4


def test_the_table_lists_every_strength(analysis: Analysis) -> None:
    rows = panels.numbers(analysis).count("<tr>")
    assert rows == 1 + sum(1 + len(m.sweep) for m in analysis.models)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.5, "50.0 %"), (0.99999, ">99.9 %"), (0.00001, "<0.1 %"), (0.999, "99.9 %")],
)
def test_percent_never_rounds_to_certainty(share: float, text: str) -> None:
    assert sentences.percent(share) == text


@pytest.mark.parametrize(
    ("attack", "weak"), [("fgsm", True), ("gaussian", True), ("pgd-linf", False)]
)
def test_no_model_is_said_to_hold(analysis: Analysis, attack: str, weak: bool) -> None:
    models = tuple(flipped_at(m, len(m.sweep)) for m in analysis.models)
    request = dataclasses.replace(analysis.request, attack=attack)
    text = sentences.sentence(dataclasses.replace(analysis, models=models, request=request))
    assert "hold" not in text
    assert text.count("no label change was found up to ε = 8/255 by this attack") == 2
    assert ("proves little" in text) == weak


def test_further_models_have_cards_and_a_line_of_their_own(analysis: Analysis) -> None:
    early, late = FlipPoint(0.5 / 255, 1, 16 / 255), FlipPoint(None, None, 16 / 255)
    first, second = with_flips(analysis, early, late).models
    third = dataclasses.replace(
        first, manifest=dataclasses.replace(first.manifest, id="tiny/c", loss="ls")
    )
    many = dataclasses.replace(analysis, models=(first, second, third, second))
    label = first.manifest.classes[first.prediction.index]
    sure = sentences.percent(first.prediction.confidence)
    told = sentences.others(many)
    assert told.startswith(f"Beside them, c: {label} ({sure}), turns to b at 0.5/255; ")
    assert told.endswith("was not found to turn up to 16/255.")
    assert sentences.headline(many) == sentences.headline(with_flips(analysis, early, late))
    assert "model 3 flips" in sentences.sentence(many) or "for model 3 no" in sentences.sentence(
        many
    )
    assert "the model 3" not in sentences.sentence(many)
    html = panels.result(many, panels.View(1))
    assert html.count('class="nls-model"') == 4
    assert "Model 4 · " in html
    assert html.count('class="nls-others"') == 1
    assert "nls-others" not in panels.result(analysis, panels.View(1))


def aimed(analysis: Analysis, target: int) -> Analysis:
    request = dataclasses.replace(analysis.request, attack_target=target)
    return dataclasses.replace(analysis, request=request)


def test_an_attack_with_a_target_is_told_by_it(analysis: Analysis) -> None:
    models = (flipped_at(analysis.models[0], 1), flipped_at(analysis.models[1], 4))
    flips = with_flips(
        dataclasses.replace(analysis, models=models),
        FlipPoint(0.5 / 255, 1, 16 / 255),
        FlipPoint(None, None, 16 / 255),
    )
    first = models[0]
    target = (first.prediction.index + 1) % 10
    before, after = (first.manifest.classes[k] for k in (first.prediction.index, target))
    told = aimed(flips, target)
    text = sentences.headline(told)  # not by flip points, which have no target
    assert f"Under pgd-linf towards {after}, the baseline is led from {before} to {after}" in text
    assert f"for the candidate no way to {after} was found up to ε = 8/255" in text
    assert "without a target, 0.5/255, to b" in panels.result(told, panels.View(0))
    assert "without a target" not in panels.result(flips, panels.View(0))
    assert f"pgd-linf towards {after}, 5 steps" in report.page(told, Origin("a.png"), css="")


def with_ece(analysis: Analysis, *errors: float) -> Analysis:
    models = tuple(
        dataclasses.replace(m, manifest=dataclasses.replace(m.manifest, metrics={"ece": ece}))
        for m, ece in zip(analysis.models, errors, strict=True)
    )
    return dataclasses.replace(analysis, models=models)


def test_a_candidate_that_is_not_better_calibrated_is_told(analysis: Analysis) -> None:
    better, worse = with_ece(analysis, 0.06, 0.02), with_ece(analysis, 0.02, 0.117)
    view = panels.View(0)
    assert "ECE 6.0 % (15 bins, test split)" in panels.result(better, view)
    assert "not better calibrated" not in panels.result(better, view)
    assert "not better calibrated than the baseline: ECE 11.7 % against 2.0 %" in panels.result(
        worse, view
    )
    first = dataclasses.replace(better.models[0].manifest, id="photos/ce-zero")
    photo = dataclasses.replace(better.models[0], manifest=first)
    assert sentences.calibration_error(photo) == "ECE 6.0 % (15 bins, out of fold)"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (FlipPoint(7 / 16 / 255, 1, 16 / 255), "flip point 0.438/255: then b"),
        (FlipPoint(None, None, 16 / 255), "flip point not found up to 16/255"),
    ],
)
def test_a_flip_point_stands_beside_the_name(
    analysis: Analysis, found: FlipPoint, text: str
) -> None:
    models = tuple(dataclasses.replace(m, flip_point=found) for m in analysis.models)
    html = panels.result(dataclasses.replace(analysis, models=models), panels.View(0))
    assert html.count(text) == 2
    assert "flip point" not in panels.result(analysis, panels.View(0))


@pytest.mark.parametrize(
    ("kind", "first", "second", "text"),
    [
        (
            "flips",
            ("a", 0.9, 2.0),
            ("a", 0.8, 4.0),
            "the baseline at 2/255, the candidate at 4/255",
        ),
        ("flips", ("a", 0.9, 2.0), ("a", 0.8, None), "the candidate not up to 16/255"),
        ("overconfident", ("b", 0.9, 2.0), ("a", 0.95, 2.0), "The baseline is 90.0 % sure that it"),
        ("overconfident", ("b", 0.8, 2.0), ("c", 0.9, 2.0), "sure that it is c; in truth it is a."),
    ],
)
def test_a_story_is_told_by_its_numbers(
    kind: str, first: tuple[str, float, float], second: tuple[str, float, float | None], text: str
) -> None:
    seen = {"one": Seen(*first, 16), "two": Seen(*second, 16)}
    assert text in stories.story(kind, "a", seen, Story(kind, Path("x"), 1.0, {}))


def test_a_story_of_maps_is_of_the_one_that_looks_away() -> None:
    told = Story("elsewhere", Path("x"), 1.0, {"one": 0.8, "two": 0.3})
    seen = {name: Seen("a", sure, 2.0, 16) for name, sure in (("one", 0.7), ("two", 0.9))}
    assert stories.story("elsewhere", "a", seen, told) == (
        "The candidate is 90.0 % sure, rightly, but only 30.0 % of its map lies on the object."
    )


def with_flips(analysis: Analysis, *found: FlipPoint | None) -> Analysis:
    pairs = zip(analysis.models, found, strict=True)
    models = tuple(dataclasses.replace(model, flip_point=each) for model, each in pairs)
    return dataclasses.replace(analysis, models=models)


def test_the_headline_is_plain_and_follows_from_the_flip_points(analysis: Analysis) -> None:
    early, late = FlipPoint(0.5 / 255, 1, 16 / 255), FlipPoint(2 / 255, 2, 16 / 255)
    text = sentences.headline(with_flips(analysis, early, late))
    assert "the baseline turns to b at 0.5/255, the candidate turns to c at 2/255" in text
    assert text.endswith(": 4 times as much noise.")
    assert "4 times as little noise" in sentences.headline(with_flips(analysis, late, early))
    assert "times" not in sentences.headline(with_flips(analysis, late, late))
    never = FlipPoint(None, None, 16 / 255)
    assert "the candidate was not found to turn up to 16/255." in sentences.headline(
        with_flips(analysis, early, never)
    )
    assert sentences.headline(with_flips(analysis, early, None)) == sentences.answers(analysis)
    fgsm = dataclasses.replace(
        analysis, request=dataclasses.replace(analysis.request, attack="fgsm")
    )
    assert "Under fgsm" in sentences.headline(with_flips(fgsm, early, late))


def test_confidence_is_too_sure_where_its_bin_is_right_too_rarely(analysis: Analysis) -> None:
    sure = Prediction(*(np.eye(10, dtype=np.float32)[0] * 0.9 + 0.01 for _ in range(3)))
    model = dataclasses.replace(analysis.models[0], prediction=sure)
    place = calibration.bin_of(sure.confidence, 15)
    verdicts = {}
    for name, right in (("too sure", 0), ("could be surer", 1)):
        probs = torch.full((400, 2), 1 - (place + 0.5) / 15)
        probs[:, 0] = (place + 0.5) / 15
        labels = torch.full((400,), 1 - right)
        plain = calibration.reliability(probs, labels).to_dict()
        manifest = dataclasses.replace(model.manifest, reliability={"plain": plain})
        found = sentences.worth(dataclasses.replace(model, manifest=manifest))
        assert found is not None
        verdicts[name] = found.text
    assert all(text.startswith(f"{name}: ") for name, text in verdicts.items())
    bare = dataclasses.replace(model.manifest, reliability={})
    assert sentences.worth(dataclasses.replace(model, manifest=bare)) is None


def with_limits(analysis: Analysis, *limits: dict[str, float]) -> Analysis:
    models = tuple(
        dataclasses.replace(model, manifest=dataclasses.replace(model.manifest, limits=each))
        for model, each in zip(analysis.models, limits, strict=True)
    )
    return dataclasses.replace(analysis, models=models)


def test_the_page_tells_the_prediction_set_and_whether_to_abstain(analysis: Analysis) -> None:
    sure = {"miss": 0.05, "inside": 0.0, "abstain_below": 0.0}
    unsure = {"miss": 0.05, "inside": 1.0, "abstain_below": 0.999}
    found = with_limits(analysis, sure, unsure)
    first, second = found.models
    named = first.manifest.classes[first.prediction.index]
    assert sentences.use(first).startswith(f"Prediction set: {named} (such sets hold the true")
    assert "95 % of test pictures). Sure enough: of answers <0.1 % sure" in sentences.use(first)
    assert " or ".join(second.manifest.classes[:1]) in sentences.use(second)
    assert sentences.use(second).count(" or ") == len(second.manifest.classes)  # and "or more"
    assert "Not sure enough, so abstain" in sentences.use(second)
    never = with_limits(analysis, unsure | {"abstain_below": 1.0000001}, {})
    assert "at no confidence are at most 5 % of the answers" in sentences.use(never.models[0])
    assert sentences.use(never.models[1]) == ""
    assert panels.result(found, panels.View(0)).count("nls-use") == 2
    assert panels.result(never, panels.View(0)).count("nls-use") == 1


def test_rest_tells_them_too(analysis: Analysis) -> None:
    limits = {"miss": 0.05, "inside": 0.0, "abstain_below": 0.999}
    answer = analysis_response(with_limits(analysis, limits, {})).model_dump(mode="json")
    first, second = (each["prediction"] for each in answer["models"])
    assert first["use"] == {
        "prediction_set": [first["label"]],
        "abstain": True,
        "enough": 0.999,
        "miss": 0.05,
    }
    assert second["use"] is None
