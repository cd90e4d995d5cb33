"""Measuring a model: the figures are those of the calibration module, on the right images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from nls_core import zoo
from nls_core.data import corruptions, datasets
from nls_core.data.datasets import Data
from nls_core.errors import InvalidInput
from nls_core.evidence import measure
from nls_core.metrics import calibration
from nls_core.nets import Classifier
from tests.conftest import TINY


def noise(count: int, seed: int) -> Data:
    """Images and labels that fit the tiny models."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator).byte()
    labels = torch.randint(0, 10, (count,), generator=generator)
    return Data("noise", images, labels, tuple("abcdefghij"), "fashion")


def test_predictions_do_not_depend_on_the_batch(
    tiny_model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(10, seed=0)
    seen: list[int] = []
    whole = tiny_model(data.images.float() / 255)
    monkeypatch.setattr(measure, "BATCH", 4)
    got = measure.predict(tiny_model.train(), data.images, progress=seen.append)
    assert seen == [4, 4, 2]
    assert not tiny_model.training
    torch.testing.assert_close(got, whole, rtol=1e-4, atol=1e-5)
    rounded = measure.predict(tiny_model, data.images, amp=True)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - whole).abs().max() < 0.1 * whole.abs().max()


def test_the_figures_are_those_of_the_calibration_module(tiny_model: Classifier) -> None:
    held, test = noise(60, seed=1), noise(80, seed=2)
    got = measure.measure(tiny_model, held, test)
    logits = tiny_model(test.images.float() / 255)
    plain, calibrated = logits.softmax(1), (logits / got.temperature).softmax(1)
    assert got.metrics["images"] == 80
    for name, metric in calibration.METRICS.items():
        assert got.metrics[name] == pytest.approx(metric(plain, test.labels), rel=1e-4), name
    for name in ("ece", "adaptive_ece", "brier", "nll"):
        expected = calibration.METRICS[name](calibrated, test.labels)
        assert got.metrics[f"{name}_calibrated"] == pytest.approx(expected, rel=1e-4), name
    assert got.metrics["mean_confidence"] == pytest.approx(float(plain.amax(1).mean()), rel=1e-4)
    for kind, probs in (("plain", plain), ("calibrated", calibrated)):
        counts = calibration.reliability(probs, test.labels).to_dict()["counts"]
        assert got.reliability[kind]["counts"] == counts
    assert json.loads(json.dumps(dict(got.metrics), allow_nan=False)) == got.metrics


def test_the_temperature_is_fitted_on_the_held_out_images_alone(tiny_model: Classifier) -> None:
    held = noise(60, seed=1)
    first = measure.measure(tiny_model, held, noise(50, seed=2))
    assert measure.measure(tiny_model, held, noise(50, seed=3)).temperature == first.temperature
    logits = tiny_model(held.images.float() / 255)

    def nll(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / temperature, held.labels))

    t = first.temperature
    assert nll(t) <= min(nll(0.9 * t), nll(1.1 * t), nll(1.0))


def test_all_answers_right_leaves_no_nan(tiny_model: Classifier) -> None:
    test = noise(30, seed=2)
    right = tiny_model(test.images.float() / 255).argmax(1)
    got = measure.measure(tiny_model, noise(30, seed=1), dataclasses.replace(test, labels=right))
    assert got.metrics["accuracy"] == 1.0
    json.dumps(dict(got.metrics), allow_nan=False)


@pytest.mark.parametrize(
    "change",
    [
        {"images": torch.zeros(20, 3, 28, 28).byte()},
        {"images": torch.zeros(20, 1, 32, 32).byte()},
        {"classes": tuple("abc")},
        {"classes": tuple("bacdefghij")},  # the same, in another order: labels would mean others
    ],
)
def test_images_and_classes_must_be_the_models(change: dict[str, object], models_dir: Path) -> None:
    test = dataclasses.replace(noise(20, seed=2), **change)  # type: ignore[arg-type]
    manifest = zoo.read_manifest(TINY[0], models_dir)
    measure.check_fits(manifest, noise(20, seed=2))
    with pytest.raises(InvalidInput, match=r"tiny/ce-zero expects images of \(1, 28, 28\).*noise"):
        measure.check_fits(manifest, test)


def test_splits_hold_out_the_trainers_validation_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[Path, str, bool]] = []

    def load(folder: Path, split: datasets.Split, download: bool) -> Data:
        asked.append((folder, split, download))
        return noise(40 if split == "train" else 20, seed=len(split))

    monkeypatch.setitem(datasets.DATASETS, "noise", load)
    held, test = measure.splits("noise", tmp_path, download=True)
    assert asked == [(tmp_path, "train", True), (tmp_path, "test", True)]
    assert torch.equal(held.images, noise(40, seed=5).images[datasets.divide(40)[1]])
    assert torch.equal(test.images, noise(20, seed=4).images)


def test_under_shift_every_corruption_is_measured_on_corrupted_images(
    tiny_model: Classifier,
) -> None:
    test = noise(80, seed=2)
    done: list[int] = []
    shift = measure.under_shift(tiny_model, test, progress=done.append)
    assert set(shift) == set(corruptions.CORRUPTIONS)
    assert sum(done) == 30 * len(test)
    for name in ("blur", "brightness"):
        rows = shift[name]
        assert [row["severity"] for row in rows] == list(corruptions.SEVERITIES)
        images = corruptions.corrupt(test.images, name, 4)
        probs = measure.predict(tiny_model, images).softmax(1)
        assert rows[3]["ece"] == calibration.ece(probs, test.labels)
        assert rows[3]["accuracy"] == calibration.accuracy(probs, test.labels)


def test_foreign_images_are_told_from_known_ones_by_confidence(tiny_model: Classifier) -> None:
    test = noise(80, seed=2)
    known = measure.predict(tiny_model, test.images)
    found = measure.out_of_distribution(tiny_model, test, known)
    assert set(found) == set(datasets.OUTSIDE)
    drawn = datasets.OUTSIDE["digits"]((1, 28, 28), 0)
    assert drawn.shape == (1797, 1, 28, 28)
    unknown = measure.predict(tiny_model, drawn).softmax(1).amax(1)
    sure = known.softmax(1).amax(1)
    wins = (sure[:, None] > unknown).double() + 0.5 * (sure[:, None] == unknown)
    assert found["digits"] == pytest.approx(float(wins.mean()), abs=1e-5)


def test_drawn_noise_is_fixed_by_its_seed() -> None:
    draw = datasets.OUTSIDE["noise"]
    assert torch.equal(draw((3, 8, 8), 1), draw((3, 8, 8), 1))
    assert not torch.equal(draw((3, 8, 8), 1), draw((3, 8, 8), 2))
    assert draw((3, 8, 8), 1).shape == (2000, 3, 8, 8)
