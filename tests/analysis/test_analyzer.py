"""The analyzer: consistency with its parts, limits, and one lane."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nls_core import cams, zoo
from nls_core.analysis import one_model
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.requests import parse_epsilons
from nls_core.analysis.results import Analysis, AnalysisRequest
from nls_core.attacks import ATTACKS, threat
from nls_core.cams import CAMS
from nls_core.errors import CheckpointError, ImageRejected, InvalidInput, QueueFull, UnknownModel
from nls_core.settings import Settings
from nls_core.types import Manifest
from tests.conftest import TINY, picture_bytes

REQUEST = AnalysisRequest(models=TINY, epsilons=(1 / 255, 8 / 255), steps=3)


def test_the_numbers_are_those_of_the_parts(analysis: Analysis, models_dir: Path) -> None:
    x = torch.from_numpy(analysis.x)[None]
    request = analysis.request
    for got in analysis.models:
        model, manifest = zoo.load(got.manifest.id, models_dir)
        logits = model(x)[0]
        np.testing.assert_allclose(got.prediction.logits, logits, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            got.prediction.calibrated, (logits / manifest.temperature).softmax(0), rtol=1e-4
        )
        cam = cams.activation_maps(model, x, got.prediction.index, method=request.cam)
        np.testing.assert_allclose(got.cam.values, cam[0], rtol=1e-3, atol=1e-6)
        for point in got.sweep:
            adversarial = torch.from_numpy(point.adversarial)[None]
            linf, l2 = threat.perturbation_norms(x, adversarial)
            assert point.linf == pytest.approx(float(linf[0]))
            assert point.l2 == pytest.approx(float(l2[0]))
            assert point.linf <= point.epsilon + 1e-6
            np.testing.assert_allclose(
                point.prediction.logits, model(adversarial)[0], rtol=1e-4, atol=1e-4
            )
            assert point.success == (point.prediction.index != got.prediction.index)
            assert point.cam.target_class == got.cam.target_class == got.prediction.index
            assert point.cam.layer == got.cam.layer


def test_a_larger_strength_lowers_the_clean_labels_probability(analysis: Analysis) -> None:
    for model in analysis.models:
        k = model.prediction.index
        seen = [p.prediction.probabilities[k] for p in model.sweep]
        assert seen[-1] < model.prediction.probabilities[k]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("cam", ["gradcam", "eigencam"])
def test_every_attack_repeats_exactly(analyzer: Analyzer, attack: str, cam: str) -> None:
    request = dataclasses.replace(REQUEST, attack=attack, cam=cam)
    first, second = (analyzer.analyze(picture_bytes(), request) for _ in range(2))
    for a, b in zip(first.models, second.models, strict=True):
        for p, q in zip(a.sweep, b.sweep, strict=True):
            np.testing.assert_array_equal(p.adversarial, q.adversarial)
            np.testing.assert_array_equal(p.cam.values, q.cam.values)


@pytest.mark.parametrize("cam", CAMS)
def test_every_map_explains_the_asked_class_and_layer(analyzer: Analyzer, cam: str) -> None:
    layer = analyzer.layers(TINY[0])[0]
    request = dataclasses.replace(REQUEST, cam=cam, target_class=3, layer=layer)
    for model in analyzer.analyze(picture_bytes(), request).models:
        assert (model.cam.target_class, model.cam.layer, model.cam.method) == (3, layer, cam)
        assert model.cam.values.shape == (28, 28)


def test_a_targeted_attack_succeeds_at_its_target_only(analyzer: Analyzer) -> None:
    clean = analyzer.analyze(picture_bytes(), REQUEST).models[0].prediction.index
    target = (clean + 1) % 10
    request = dataclasses.replace(REQUEST, attack_target=target, epsilons=(0.5,), steps=20)
    for model in analyzer.analyze(picture_bytes(), request).models:
        assert model.sweep[0].success == (model.sweep[0].prediction.index == target)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ()}, "1 to 6 models"),
        ({"models": (TINY[0], TINY[0])}, "different models"),
        ({"cam": "magic"}, "unknown cam 'magic'"),
        ({"attack": "magic"}, "unknown attack 'magic'"),
        ({"layer": "net.nowhere"}, "unknown layer"),
        ({"epsilons": (0.1,) * 17}, "at most 16 epsilons"),
        ({"epsilons": (-1 / 255,)}, "-1/255"),
        ({"epsilons": (float("nan"),)}, "nan"),
        ({"epsilons": (2.0,)}, "510/255"),
        ({"steps": 0}, "steps"),
        ({"steps": 101}, "steps"),
        ({"target_class": 10}, r"\[0, 10\)"),
        ({"attack_target": -1}, r"\[0, 10\)"),
        ({"attack_target": 3, "attack": "gaussian"}, "got gaussian towards d"),
        ({"attack_target": 3, "attack": "salt-pepper"}, r"aim at a class \(fgsm, pgd-linf"),
    ],
)
def test_refusals_say_what_was_expected(
    analyzer: Analyzer, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        analyzer.analyze(picture_bytes(), dataclasses.replace(REQUEST, **changes))


def test_unknown_models_and_damaged_pictures(analyzer: Analyzer) -> None:
    with pytest.raises(UnknownModel, match="tiny/ce-zero"):
        analyzer.analyze(picture_bytes(), dataclasses.replace(REQUEST, models=("tiny/none",)))
    with pytest.raises(ImageRejected):
        analyzer.analyze(b"not a picture", REQUEST)


def test_an_altered_checkpoint_is_refused(tmp_path: Path, models_dir: Path) -> None:
    import shutil

    shutil.copytree(models_dir, tmp_path / "models")
    weights = tmp_path / "models" / TINY[0] / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    altered = Analyzer(Settings(models_dir=tmp_path / "models"))
    with pytest.raises(CheckpointError, match="altered"):
        altered.analyze(picture_bytes(), REQUEST)


def test_the_manifest_of_a_loaded_model_is_read_again_only_when_its_file_changed(
    tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    reads: list[str] = []

    def counted(model_id: str, models: Path) -> Manifest:
        reads.append(model_id)
        return read(model_id, models)

    read = zoo.read_manifest
    shutil.copytree(models_dir, tmp_path / "models")
    work = Analyzer(Settings(models_dir=tmp_path / "models", device="cpu"))
    work.layers(TINY[0])  # loads it
    monkeypatch.setattr(zoo, "read_manifest", counted)
    loaded = work.manifest(TINY[0])
    assert work.manifest(TINY[0]) is loaded
    work.manifest(TINY[1])  # is not loaded
    assert reads == [TINY[1]]
    config = tmp_path / "models" / TINY[0] / "config.json"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('"smallresnet', '"bigresnet'), encoding="utf-8")
    with pytest.raises(CheckpointError, match="the manifest of tiny/ce-zero is damaged"):
        work.manifest(TINY[0])
    config.unlink()
    with pytest.raises(UnknownModel):
        work.manifest(TINY[0])


def test_a_full_queue_refuses_at_once(models_dir: Path) -> None:
    narrow = Analyzer(Settings(models_dir=models_dir, max_queue=1))
    inside, leave = threading.Event(), threading.Event()

    def hold(done: float, what: str) -> None:
        inside.set()
        leave.wait(20)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(narrow.analyze, picture_bytes(), REQUEST, hold)
        assert inside.wait(20)
        with pytest.raises(QueueFull, match="1 works"):
            narrow.analyze(picture_bytes(), REQUEST)
        leave.set()
        slow.result()
    narrow.analyze(picture_bytes(), REQUEST)  # the place is free again


def test_parallel_requests_answer_as_single_ones(analyzer: Analyzer) -> None:
    wanted = analyzer.analyze(picture_bytes(), REQUEST)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: analyzer.analyze(picture_bytes(), REQUEST), range(4)))
    for answer in answers:
        for a, b in zip(answer.models, wanted.models, strict=True):
            np.testing.assert_array_equal(a.prediction.logits, b.prediction.logits)
            np.testing.assert_array_equal(a.sweep[-1].adversarial, b.sweep[-1].adversarial)


def test_progress_rises_to_one(analyzer: Analyzer) -> None:
    seen: list[float] = []
    analyzer.analyze(picture_bytes(), REQUEST, lambda done, what: seen.append(done))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1


# what Square keeps may hang on how a batch of another size rounds
@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "square"])
def test_strengths_by_the_few_are_those_of_one_batch(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    request = dataclasses.replace(
        REQUEST, attack=attack, epsilons=(1 / 255, 4 / 255, 8 / 255), steps=3
    )
    wanted = analyzer.analyze(picture_bytes(), request)
    monkeypatch.setattr(one_model, "AT_ONCE", 2 * 28 * 28)
    seen: list[float] = []
    got = analyzer.analyze(picture_bytes(), request, lambda done, what: seen.append(done))
    assert seen == sorted(seen)
    for a, b in zip(got.models, wanted.models, strict=True):
        assert [point.epsilon for point in a.sweep] == list(request.epsilons)
        for one, other in zip(a.sweep, b.sweep, strict=True):
            np.testing.assert_allclose(one.adversarial, other.adversarial, atol=1e-6)
            np.testing.assert_allclose(one.cam.values, other.cam.values, atol=1e-4)


def test_strengths_are_read_as_people_write_them() -> None:
    assert parse_epsilons("1, 2.5,8") == pytest.approx((1 / 255, 2.5 / 255, 8 / 255))
    with pytest.raises(InvalidInput, match="1,2,x"):
        parse_epsilons("1,2,x")


def test_a_lent_gpu_gets_and_gives_only_what_pickles(models_dir: Path, analyzer: Analyzer) -> None:
    import pickle

    def elsewhere(work):  # type: ignore[no-untyped-def]
        def call(*arguments: object) -> object:
            return pickle.loads(pickle.dumps(work(*pickle.loads(pickle.dumps(arguments)))))

        return call

    lent = Analyzer(Settings(models_dir=models_dir), elsewhere)
    got, wanted = (each.analyze(picture_bytes(), REQUEST) for each in (lent, analyzer))
    for a, b in zip(got.models, wanted.models, strict=True):
        np.testing.assert_array_equal(a.sweep[-1].adversarial, b.sweep[-1].adversarial)
        assert a.manifest == b.manifest
