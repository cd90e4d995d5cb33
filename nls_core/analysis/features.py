"""What a model's last features say: a 2-D map of test images, and the neighbours of a new one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from nls_core.analysis.backend import Check
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.one_model import Progress
from nls_core.data import sample
from nls_core.errors import InvalidInput
from nls_core.images import PREPROCESS
from nls_core.nets import frozen
from nls_core.types import FloatArray

if TYPE_CHECKING:
    from nls_core.analysis.analyzer import Analyzer

BATCH = 100  # images in one turn of the compute lane
NEIGHBOURS = 8
VOTERS = 10  # neighbours that vote in `knn_accuracy`
SEED = 0
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Of N images the penultimate features (N, D) and the probabilities (N, K), float32."""

    features: FloatArray
    probabilities: FloatArray


@dataclass(frozen=True)
class Embedding:
    """The sample through one model.

    `positions` is (N, 2) in [0, 1]; `knn` the share of images whose `VOTERS` nearest others
    vote for their class; `silhouette` in [-1, 1], of the classes in feature space; `unit` the
    median distance of an image to its nearest other, the unit of distances.
    """

    model_id: str
    answers: Answers
    positions: FloatArray
    labels: Indices
    knn: float
    silhouette: float
    unit: float

    @property
    def predicted(self) -> Indices:
        """(N,) the most probable class of each image."""
        chosen: Indices = np.argmax(self.answers.probabilities, axis=1)
        return chosen

    @property
    def accuracy(self) -> float:
        """The share of images that the model itself gets right."""
        return float((self.predicted == self.labels).mean())


@dataclass(frozen=True)
class Placed:
    """A new image (C, H, W) in [0, 1] among the sample.

    `indices` and `distances` (k,) are its nearest images, nearest first, in units of
    `Embedding.unit`; `position` (2,) where it is drawn; `probabilities` (K,) the model's answer.
    """

    x: FloatArray
    probabilities: FloatArray
    indices: Indices
    distances: FloatArray
    position: FloatArray


def penultimate(model: nn.Module, x: Tensor) -> Answers:
    """What enters a model's last linear layer, and what comes out as probabilities.

    Args:
        model: from (B, C, H, W) to logits (B, K), with an `nn.Linear` at its end.
        x: (B, C, H, W) on the model's device.

    Raises:
        InvalidInput: the model has no linear layer.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InvalidInput("expected a model that ends in a linear layer; got none")
    seen: list[Tensor] = []
    handle = linear[-1].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        with frozen(model), torch.no_grad():
            probabilities = model(x).softmax(1)
    finally:
        handle.remove()
    return Answers(seen[0].flatten(1).float().cpu().numpy(), probabilities.float().cpu().numpy())


def answer(x: Tensor, loaded: Loaded, check: Check) -> Answers:
    """`penultimate` of images (B, C, H, W): uint8, or float32 in [0, 1]."""
    device = next(loaded.model.parameters()).device
    x = x.to(device)
    return penultimate(loaded.model, x.float() / 255 if x.dtype == torch.uint8 else x)


def distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """(N, M) Euclidean distances between rows of a (N, D) and b (M, D)."""
    rows, others = torch.from_numpy(a), torch.from_numpy(b)
    # the faster way by matrix products gives an image a distance to itself
    apart: FloatArray = torch.cdist(
        rows, others, compute_mode="donot_use_mm_for_euclid_dist"
    ).numpy()
    return apart


def knn_accuracy(apart: FloatArray, labels: Indices, voters: int = VOTERS) -> float:
    """The share of images whose nearest others vote for their class, each image left out itself.

    Args:
        apart: (N, N) distances.
        labels: (N,).
        voters: how many neighbours vote, < N; of classes with equal votes the lowest wins.
    """
    others = apart.copy()
    np.fill_diagonal(others, np.inf)
    nearest = np.argsort(others, axis=1, kind="stable")[:, :voters]  # (N, voters)
    votes = np.apply_along_axis(np.bincount, 1, labels[nearest], minlength=int(labels.max()) + 1)
    return float((votes.argmax(1) == labels).mean())


def flatten(features: FloatArray) -> FloatArray:
    """(N, D) features -> (N, 2) in [0, 1] by t-SNE (van der Maaten & Hinton, JMLR 9, 2008).

    It begins with the first two principal components, and is repeatable.
    """
    from sklearn.manifold import TSNE  # noqa: PLC0415 - 60 MB, for those who open this page

    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(2, init="pca", perplexity=perplexity, random_state=SEED)
    positions = tsne.fit_transform(features)
    low, high = positions.min(0), positions.max(0)
    inside: FloatArray = ((positions - low) / np.maximum(high - low, 1e-9)).astype(np.float32)
    return inside


def place(embedding: Embedding, x: FloatArray, answers: Answers) -> Placed:
    """Put one new image among the sample.

    t-SNE has no rule for new points: the image is drawn at the mean position of its nearest
    images in feature space, each weighted by the inverse of its distance.
    """
    apart = distances(answers.features, embedding.answers.features)[0] / embedding.unit
    nearest = np.argsort(apart, kind="stable")[:NEIGHBOURS]
    weights = 1 / np.maximum(apart[nearest], 1e-6)
    position = (embedding.positions[nearest] * weights[:, None]).sum(0) / weights.sum()
    return Placed(x, answers.probabilities[0], nearest, apart[nearest], position.astype(np.float32))


class Features:
    """Embeddings of the shipped test images; each is computed once and kept."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self._done: dict[str, Embedding] = {}
        self._busy = threading.Lock()
        self.sample = lru_cache(maxsize=None)(self._read)

    def families(self) -> list[str]:
        """The families that ship test images."""
        folder = self.analyzer.settings.models_dir
        return [f for f in self.analyzer.families() if sample.path_of(f, folder).is_file()]

    def ids(self) -> list[str]:
        """The models of these families."""
        return [i for family in self.families() for i in self.analyzer.ids(family)]

    def _read(self, family: str) -> sample.Sample:
        return sample.read(family, self.analyzer.settings.models_dir)

    def embedding(self, model_id: str, progress: Progress = lambda done, what: None) -> Embedding:
        """The sample through a model; some seconds the first time.

        Raises:
            DatasetMissing: the model's family ships no test images.
            CheckpointError, UnknownModel, QueueFull: as `Analyzer.run`.
        """
        with self._busy:  # two people who ask at once compute once
            if model_id not in self._done:
                self._done[model_id] = self._compute(model_id, progress)
            return self._done[model_id]

    def _compute(self, model_id: str, progress: Progress) -> Embedding:
        from sklearn.metrics import silhouette_score  # noqa: PLC0415 - as in `flatten`

        images = self.sample(self.analyzer.manifest(model_id).family)
        parts = []
        for start in range(0, len(images), BATCH):
            progress(0.4 * start / len(images), f"{model_id}: features")
            x = torch.from_numpy(images.part(start, start + BATCH).images)
            parts.append(self.analyzer.run(model_id, partial(answer, x)))
        answers = _joined(parts)
        progress(0.4, f"{model_id}: t-SNE")
        apart = distances(answers.features, answers.features)
        nearest = np.sort(apart, axis=1)[:, 1]  # without the distance 0 to itself
        return Embedding(
            model_id,
            answers,
            self.analyzer.compute(partial(flatten, answers.features)),
            images.labels,
            knn_accuracy(apart, images.labels),
            float(silhouette_score(answers.features, images.labels)),
            max(float(np.median(nearest)), 1e-9),
        )

    def place(self, embedding: Embedding, picture: Image.Image) -> Placed:
        """Put an uploaded picture (RGB) among the sample, converted as for the model."""
        manifest = self.analyzer.manifest(embedding.model_id)
        convert = PREPROCESS[manifest.preprocess]
        x = convert(picture, manifest.input_size, manifest.channels).x
        answers = self.analyzer.run(embedding.model_id, partial(answer, x))
        return place(embedding, x[0].numpy(), answers)


def _joined(parts: Sequence[Answers]) -> Answers:
    columns: list[Any] = [[p.features for p in parts], [p.probabilities for p in parts]]
    return Answers(*(np.concatenate(column) for column in columns))
