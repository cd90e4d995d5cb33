"""The Compare page's work without a browser."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.cli.compare import command
from nls_core.errors import InvalidInput
from nls_core.images import decode_image
from nls_core.settings import Settings
from nls_core.views import sentences
from nls_core.web.pages.compare_work import Compare
from nls_core.web.pages.controls import AUTOMATIC, AWAY, epsilon_slider
from tests.conftest import TINY, picture_bytes


@pytest.fixture(scope="module")
def compare(analyzer: Analyzer) -> Compare:
    return Compare(analyzer)


def test_the_examples_are_there_credited_and_of_every_class(compare: Compare) -> None:
    from nls_core.data.datasets import FASHION_CLASSES

    fashion = compare.of_family("fashion")
    credits = (compare.analyzer.settings.static_dir / "examples" / "CREDITS.md").read_text()
    assert len(fashion) >= 12
    assert {e.label for e in fashion} == set(FASHION_CLASSES)
    for example in fashion:
        decode_image(example.path.read_bytes())
        assert f"fashion/{example.path.name}" in credits


def test_the_start_is_a_comparison_of_two_models(compare: Compare) -> None:
    start = compare.start("tiny")
    assert (start["baseline"], start["candidate"]) == TINY
    analysis = compare.analyze(start)
    assert [m.manifest.id for m in analysis.models] == list(TINY)
    assert analysis.request.attack == "pgd-linf"
    assert (analysis.request.steps, analysis.request.random_start) == (10, True)
    assert analysis.request.epsilons == pytest.approx([n / 255 for n in range(1, 17)])
    assert compare.view(analysis, start).index == 3
    assert start["epsilon"] == 4


def test_page_and_command_line_begin_with_the_same(compare: Compare) -> None:
    start = compare.start("tiny")
    options = inspect.signature(command).parameters
    for name in ("attack", "cam", "steps", "seed"):
        assert start[name] == options[name].default == getattr(AnalysisRequest, name)


def test_every_place_of_the_slider_is_a_strength_of_the_sweep(compare: Compare) -> None:
    start = compare.start("tiny")
    for attack in ("pgd-linf", "pgd-l2"):
        slider = epsilon_slider(TINY[0], attack)
        values = start | {"attack": attack, "steps": 1}
        analysis = compare.analyze(values)
        scale = 255 if attack == "pgd-linf" else 1
        for place in range(round(slider["maximum"] / slider["step"]) + 1):
            index = compare.view(analysis, values | {"epsilon": place * slider["step"]}).index
            point = analysis.point(analysis.models[0], index)
            assert point.epsilon * scale == pytest.approx(place * slider["step"])
    shown = compare.show(analysis, values | {"epsilon": 0})[0]
    assert "attacked, ε = 0" in shown
    beyond = compare.view(analysis, values | {"epsilon": 16})
    assert beyond.index == 15  # that of another attack: its largest


def test_strengths_fit_the_family() -> None:
    photos, fashion = (
        epsilon_slider("photos/ce-zero", "fgsm"),
        epsilon_slider("fashion/a-b", "fgsm"),
    )
    assert (photos["minimum"], photos["maximum"], photos["step"]) == (0, 4, 0.25)
    assert (fashion["minimum"], fashion["maximum"], fashion["step"]) == (0, 16, 1)
    kept = epsilon_slider("photos/ce-zero", "pgd-linf", 16)
    assert kept["value"] == 4


def test_choices_reach_the_request(compare: Compare) -> None:
    start = compare.start("tiny")
    classes = compare.targets(TINY[0])
    values = start | {"target": classes[4], "attack": "pgd-l2", "cam": "layercam", "steps": 2}
    request = compare.analyze(values).request
    assert classes[0] == AUTOMATIC
    assert request.target_class == 3
    assert (request.cam, request.attack, request.steps) == ("layercam", "pgd-l2", 2)
    assert request.epsilons[-1] == pytest.approx(4.0)  # L2 has its own unit


def test_an_attack_leads_where_the_menu_says(compare: Compare) -> None:
    start = compare.start("tiny") | {"steps": 2}
    ways = compare.ways(start["baseline"])
    assert ways[0] == AWAY == start["towards"]
    away, led = (compare.look(start | {"towards": way}) for way in (AWAY, ways[5]))
    assert away.request.attack_target is None
    assert led.request.attack_target == 4
    for a, b in zip(away.models, led.models, strict=True):
        assert not np.array_equal(a.sweep[0].adversarial, b.sweep[0].adversarial)
        np.testing.assert_array_equal(a.prediction.logits, b.prediction.logits)
    with pytest.raises(InvalidInput, match="towards e"):
        compare.look(start | {"towards": ways[5], "attack": "gaussian"})
    with pytest.raises(InvalidInput, match="unknown class 'Zebra'"):
        compare.look(start | {"towards": "Zebra"})


def test_further_models_are_analyzed_once_each(compare: Compare) -> None:
    start = compare.start("tiny")
    values = start | {"candidate": start["baseline"], "more": list(TINY), "steps": 1}
    analysis = compare.look(values)
    assert {model.manifest.id for model in analysis.models} == set(TINY)
    assert analysis.models[0].manifest.id == start["baseline"]
    assert all(compare.show(analysis, values)[3:5])  # the diagrams of the first two that differ
    assert compare.question(values) != compare.question(start)
    hash(compare.question(values))


def test_one_model_chosen_twice_is_analyzed_once(compare: Compare) -> None:
    start = compare.start("tiny")
    values = start | {"candidate": start["baseline"], "steps": 1}
    analysis = compare.analyze(values)
    shown = compare.show(analysis, values)
    assert len(analysis.models) == 1
    assert shown[4] is None


def test_an_example_is_known_by_its_content_not_by_its_name(
    compare: Compare, tmp_path: Path
) -> None:
    start = compare.start("tiny") | {"steps": 1}
    example = compare.of_family("fashion")[2]
    copy, stranger = tmp_path / "mine.png", tmp_path / example.path.name
    copy.write_bytes(example.path.read_bytes())
    stranger.write_bytes(picture_bytes())
    for path, truth in ((copy, example.label), (stranger, None)):
        analysis = compare.analyze(start | {"image": str(path)})
        path.unlink()  # what is shown rests on the analysis: the picture is not read again
        assert compare.view(analysis, start).truth == truth
        assert compare.show(analysis, start)
    decoded = compare.analyzer.analyze(decode_image(picture_bytes()), analysis.request)
    assert compare.view(decoded, start).truth is None


def test_a_model_that_nobody_has_measured_is_shown_without_a_diagram(
    compare: Compare, models_dir: Path, tmp_path: Path
) -> None:
    for name, left_out in zip(TINY, (("reliability", "metrics"), ()), strict=True):
        shutil.copytree(models_dir / name, tmp_path / name)
        config = tmp_path / name / "config.json"
        entries = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps({k: v for k, v in entries.items() if k not in left_out}))
    work = Compare(Analyzer(Settings(models_dir=tmp_path, device="cpu")))
    values = compare.start("tiny") | {"steps": 1}
    analysis = work.analyze(values)
    first, second = work.show(analysis, values)[3:5]
    assert first is None
    assert second is not None
    page = work.export("html", analysis, values).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")


def test_what_was_measured_of_another_pair_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Compare(Analyzer(Settings()))
    assert shipped.stories("fashion")
    pair = ("fashion/ce-zero", "fashion/focal-zero")
    monkeypatch.setattr(shipped.analyzer, "pair", lambda family: pair)
    assert shipped.measured("fashion") is None
    assert shipped.stories("fashion") == []
    assert Path(shipped.start("fashion")["image"]).is_file()


def test_what_is_rendered_counts_with_what_is_kept(models_dir: Path) -> None:
    small = Compare(Analyzer(Settings(models_dir=models_dir, max_cache_bytes=2_000_000)))
    store, start = small.analyzer.computed, small.start("tiny")
    analysis = small.analyze(start)
    before = store.bytes
    shown = small.show(analysis, start)
    assert store.bytes - before > sum(len(text) for text in shown if text)
    for confidence in range(200):
        store.put(("diagram", confidence), "ε" * 100_000)
    assert store.bytes <= 2_000_000


def test_exports_hold_the_same_numbers(compare: Compare) -> None:
    values = compare.start("tiny") | {"steps": 1}
    analysis = compare.analyze(values)
    data = json.loads(compare.export("json", analysis, values).read_text(encoding="utf-8"))
    page = compare.export("html", analysis, values).read_text(encoding="utf-8")
    got = [m["prediction"]["confidence"] for m in data["models"]]
    np.testing.assert_allclose(got, [m.prediction.confidence for m in analysis.models], rtol=1e-6)
    table = compare.export("csv", analysis, values).read_text(encoding="utf-8")
    for model in analysis.models:
        assert sentences.percent(model.prediction.confidence) in page
        assert f",{model.prediction.confidence}," in table
    with zipfile.ZipFile(compare.export("zip", analysis, values)) as charts:
        assert len(charts.namelist()) == 2 + len(analysis.models)


def test_a_bad_seed_is_refused_in_words(compare: Compare) -> None:
    with pytest.raises(InvalidInput, match="seed"):
        compare.analyze(compare.start("tiny") | {"seed": -1})


def test_labels_and_warnings_follow_the_choices(compare: Compare) -> None:
    assert "L2" in epsilon_slider(TINY[0], "pgd-l2")["label"]
    assert "1/255" in epsilon_slider(TINY[0], "fgsm")["label"]
    start = compare.start("tiny")
    compare.analyze(start | {"steps": 1})  # so that it is known how fast the models are
    slow = start | {"attack": "autoattack", "steps": 100}
    assert re.fullmatch(r" \(about \d+ s\)", compare.duration(slow, whole=True))
    assert compare.duration(start | {"attack": "fgsm"}) == ""
    assert compare.start("tiny")["attack"] == "pgd-linf"


def test_photos_come_first(analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Analyzer, "families", lambda self: ("fashion", "photos"))
    assert Compare(analyzer).families == ("photos", "fashion")
