"""Features, their map and their neighbours."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from nls_core import files
from nls_core.analysis import features
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.features import Answers, Embedding, Features, penultimate, place
from nls_core.data import sample
from nls_core.data.datasets import FASHION_CLASSES
from nls_core.errors import DatasetMissing, InvalidInput
from nls_core.images import decode_image
from nls_core.nets import Classifier
from nls_core.settings import ROOT, Settings
from nls_core.types import FloatArray
from nls_core.views import feature_map
from tests.conftest import TINY, make_model, picture_bytes, shipped_sample


@pytest.fixture(scope="module")
def work(analyzer: Analyzer) -> Features:
    return Features(analyzer)


@pytest.fixture(scope="module")
def embedding(work: Features) -> Embedding:
    return work.embedding(TINY[0])


def test_the_shipped_images_are_100_of_each_class_and_small() -> None:
    shipped = shipped_sample()
    file = sample.path_of("fashion", ROOT / "models")
    assert shipped.images.shape == (1000, 1, 28, 28)
    assert np.bincount(shipped.labels).tolist() == [100] * 10
    assert (np.diff(shipped.indices) > 0).all()
    assert file.stat().st_size < 600_000


def test_a_sample_survives_the_disk_and_damage_is_reported(tmp_path: Path) -> None:
    small = shipped_sample().first(2)
    path = sample.path_of("some", tmp_path)
    sample.write(small, path)
    again = sample.read("some", tmp_path)
    for name in ("images", "labels", "indices"):
        np.testing.assert_array_equal(getattr(again, name), getattr(small, name))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetMissing, match="make_sample"):
        sample.read("some", tmp_path)
    with pytest.raises(DatasetMissing, match="missing"):
        sample.read("none", tmp_path)


def colours() -> sample.Sample:
    """Six smooth pictures in colour, as photographs are: JPEG hardly changes them."""
    steep = np.linspace(0, 250, 32, dtype=np.uint8)
    images = np.stack([np.stack([np.roll(np.tile(steep, (32, 1)), 4 * (i + c)) for c in range(3)])
                       for i in range(6)])  # fmt: skip
    return sample.Sample(images, np.arange(6) % 3, np.arange(6))


def test_a_sample_in_colour_is_small_and_almost_as_it_was(tmp_path: Path) -> None:
    small, path = colours(), sample.path_of("some", tmp_path)
    sample.write(small, path)
    again = sample.read("some", tmp_path)
    assert again.images.shape == small.images.shape
    # but at the edges of `np.roll`
    assert np.median(np.abs(again.images.astype(int) - small.images)) <= 2
    np.testing.assert_array_equal(again.labels, small.labels)


def test_a_damaged_picture_of_a_sample_is_reported(tmp_path: Path) -> None:
    path = sample.path_of("some", tmp_path)
    sample.write(colours(), path)
    stored = files.read_arrays(path)
    files.write_arrays(path, **(stored | {"jpeg": stored["jpeg"][::-1].copy()}))
    with pytest.raises(DatasetMissing, match="damaged"):
        sample.read("some", tmp_path)


def test_images_of_two_channels_are_refused(tmp_path: Path) -> None:
    odd = sample.Sample(np.zeros((1, 2, 4, 4), np.uint8), np.zeros(1, int), np.zeros(1, int))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        sample.write(odd, sample.path_of("some", tmp_path))


def test_the_shipped_objects_are_of_every_class_and_small() -> None:
    shipped = sample.read("photos", ROOT / "models")
    assert shipped.images.shape[1:] == (3, 224, 224)
    assert np.bincount(shipped.labels).min() >= 13
    assert sample.path_of("photos", ROOT / "models").stat().st_size < 3_500_000


def test_penultimate_features_give_the_probabilities_through_the_head(
    tiny_model: Classifier, tiny_images: torch.Tensor
) -> None:
    answers = penultimate(tiny_model, tiny_images)
    head = tiny_model.net.head
    again = head(torch.from_numpy(answers.features)).softmax(1)
    np.testing.assert_allclose(again.numpy(), answers.probabilities, atol=1e-6)
    assert not any(m._forward_pre_hooks for m in tiny_model.modules())
    with pytest.raises(InvalidInput, match="linear"):
        penultimate(torch.nn.Conv2d(1, 2, 3), tiny_images)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7))
def test_knn_accuracy_is_that_of_scikit_learn_leaving_one_out(seed: int, voters: int) -> None:
    rng = np.random.default_rng(seed)
    points: FloatArray = rng.normal(size=(30, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 30)
    right = 0
    for i in range(30):
        others = np.arange(30) != i
        model = KNeighborsClassifier(voters).fit(points[others], labels[others])
        right += int(model.predict(points[i : i + 1])[0] == labels[i])
    got = features.knn_accuracy(features.distances(points, points), labels, voters)
    assert got == pytest.approx(right / 30)


def test_an_embedding_holds_every_image_once_and_repeats(
    work: Features, embedding: Embedding
) -> None:
    n = len(work.sample("tiny"))
    assert embedding.positions.shape == (n, 2)
    assert embedding.positions.min() == 0
    assert embedding.positions.max() == 1
    assert work.embedding(TINY[0]) is embedding  # kept
    again = Features(work.analyzer).embedding(TINY[0])
    np.testing.assert_array_equal(again.positions, embedding.positions)
    assert (again.knn, again.silhouette) == (embedding.knn, embedding.silhouette)


def test_the_analyzers_lane_computes_what_the_model_says(
    work: Features, embedding: Embedding
) -> None:
    model = make_model(seed=0)
    with torch.no_grad():
        wanted = model(work.sample("tiny").x()).softmax(1).numpy()
    np.testing.assert_allclose(embedding.answers.probabilities, wanted, atol=2e-3)  # float16 disk
    assert work.analyzer.in_use == 0


def test_a_lent_gpu_gets_and_gives_only_what_pickles(
    models_dir: Path, embedding: Embedding
) -> None:
    def elsewhere(work):  # type: ignore[no-untyped-def]
        def call(*arguments: object) -> object:
            return pickle.loads(pickle.dumps(work(*pickle.loads(pickle.dumps(arguments)))))

        return call

    lent = Features(Analyzer(Settings(models_dir=models_dir, device="cpu"), elsewhere))
    got = lent.embedding(TINY[0])
    np.testing.assert_array_equal(got.answers.features, embedding.answers.features)


def test_an_image_of_the_sample_is_its_own_nearest(embedding: Embedding) -> None:
    for i in (0, 17, 41):
        own = Answers(embedding.answers.features[[i]], embedding.answers.probabilities[[i]])
        placed = place(embedding, np.zeros((1, 28, 28), np.float32), own)
        assert placed.indices[0] == i
        assert placed.distances[0] == 0
        assert (np.diff(placed.distances) >= 0).all()
        np.testing.assert_allclose(placed.position, embedding.positions[i], atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_new_image_lies_within_its_neighbours(embedding: Embedding, seed: int) -> None:
    spread = embedding.answers.features.std(0)
    noise = np.random.default_rng(seed).normal(size=(1, len(spread)))
    feature = (embedding.answers.features.mean(0) + noise * spread).astype(np.float32)
    placed = place(
        embedding, np.zeros((1, 28, 28), np.float32), Answers(feature, np.full((1, 10), 0.1))
    )
    near = embedding.positions[placed.indices]
    assert (placed.position >= near.min(0) - 1e-5).all()
    assert (placed.position <= near.max(0) + 1e-5).all()


def test_an_upload_is_placed_and_shown_with_its_neighbours(
    work: Features, embedding: Embedding
) -> None:
    placed = work.place(embedding, decode_image(picture_bytes()))
    html = feature_map.neighbours(embedding, placed, FASHION_CLASSES)
    assert html.count("<figure>") == 1 + features.NEIGHBOURS
    drawn = feature_map.maps([embedding], [placed], FASHION_CLASSES)
    assert drawn.count('class="p ') == len(embedding.labels)
    assert drawn.count('class="new"') == 1
    wrong = int((embedding.predicted != embedding.labels).sum())
    assert len(re.findall(r'class="p c\d w w\d', drawn)) == wrong


def test_the_sprite_sheet_holds_each_image_where_its_offset_says() -> None:
    images = shipped_sample().first(5)
    sheet = feature_map.sprite(images)
    for i in (0, 39, 40, 49):
        column, row = (
            int(n) // feature_map.SHOWN * 28 for n in re.findall(r"-(\d+)px", feature_map.offset(i))
        )
        np.testing.assert_array_equal(
            sheet[row : row + 28, column : column + 28], images.images[i, 0]
        )


def test_colours_of_any_number_of_classes_differ() -> None:
    for classes in (2, 10, 40):
        colours = {feature_map.class_colour(k, classes) for k in range(classes)}
        assert len(colours) == classes
