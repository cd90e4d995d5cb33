"""An analysis in parts that are computed once: the picture, a model's clean answer, each strength.

Whoever asks for another strength, another candidate or the flip point gets what is kept and
computes the rest. Parts are shared by all who look at the same picture; what names one is all that
decides it: the picture's SHA-256, the weights' SHA-256, and the options that it depends on.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nls_core.analysis.cache import Store
from nls_core.analysis.results import (
    Analysis,
    AnalysisRequest,
    CamMap,
    ModelAnalysis,
    Prediction,
)
from nls_core.images import PREPROCESS, Prepared, thumbnail
from nls_core.types import FloatArray, Geometry, Manifest


@dataclass(frozen=True)
class Seen:
    """A picture as models of one kind see it, x (C, H, W), and for display; see `Analysis`."""

    x: FloatArray
    picture: NDArray[np.uint8]
    geometry: Geometry
    notes: tuple[str, ...]

    def prepared(self) -> Prepared:
        """What a model takes."""
        return Prepared(torch.from_numpy(self.x)[None], self.geometry, self.notes)


@dataclass(frozen=True)
class Clean:
    """What a model says of the picture as it is."""

    prediction: Prediction
    cam: CamMap


def see(picture: Image.Image, manifest: Manifest) -> Seen:
    """Convert a decoded picture for models of a manifest's kind."""
    convert = PREPROCESS[manifest.preprocess]
    found = convert(picture, manifest.input_size, manifest.channels)
    return Seen(found.x[0].numpy(), thumbnail(picture), found.geometry, found.notes)


class Parts:
    """The parts of one request: those that are there, and what is missing.

    `digest` is the SHA-256 of the image file; None keeps nothing in the store.
    """

    def __init__(
        self,
        store: Store[Any],
        digest: str | None,
        request: AnalysisRequest,
        manifests: Mapping[str, Manifest],
    ) -> None:
        self._store, self._digest = store, digest
        self.request, self.manifests = request, manifests
        self._have: dict[Hashable, Any] = {}
        self.look()

    def look(self) -> None:
        """Take what is kept and not here yet; others may have computed it meanwhile."""
        if self._digest is None:
            return
        for key in self._wanted():
            if key not in self._have and (part := self._store.get(key)) is not None:
                self._have[key] = part

    def _wanted(self) -> list[Hashable]:
        keys: list[Hashable] = [self._seen()]
        for model_id in self.request.models:
            keys.append(self._clean(model_id))
            keys += [self._point(model_id, epsilon) for epsilon in self.request.epsilons]
            keys += [self._flip(model_id)] if self.request.flip_point else []
        return keys

    def _seen(self) -> Hashable:
        first = self.manifests[self.request.models[0]]
        return (self._digest, first.preprocess, first.input_size, first.channels)

    def _map(self, model_id: str) -> tuple[Hashable, ...]:
        r = self.request
        return (self._digest, self.manifests[model_id].sha256, r.cam, r.layer, r.target_class)

    def _clean(self, model_id: str) -> Hashable:
        return ("clean", *self._map(model_id))

    def _point(self, model_id: str, epsilon: float) -> Hashable:
        r = self.request
        attack = (r.attack, r.attack_target, r.steps, r.seed, r.random_start)
        return (*self._map(model_id), *attack, round(epsilon, 9))

    def _flip(self, model_id: str) -> Hashable:
        sha256 = self.manifests[model_id].sha256
        return ("flip", self._digest, sha256, self.request.seed)

    def _put(self, key: Hashable, part: Any) -> None:
        self._have[key] = part
        if self._digest is not None:
            self._store.put(key, part)

    @property
    def seen(self) -> Seen | None:
        """The picture, where it was prepared before."""
        found: Seen | None = self._have.get(self._seen())
        return found

    def add_seen(self, seen: Seen) -> None:
        """Keep the picture."""
        self._put(self._seen(), seen)

    def add(self, model: ModelAnalysis) -> None:
        """Keep what a model said."""
        model_id = model.manifest.id
        self._put(self._clean(model_id), Clean(model.prediction, model.cam))
        for point in model.sweep:
            self._put(self._point(model_id, point.epsilon), point)
        if model.flip_point is not None:
            self._put(self._flip(model_id), model.flip_point)

    def add_all(self, analysis: Analysis) -> None:
        """Keep a finished analysis of the same picture and models."""
        self.add_seen(Seen(analysis.x, analysis.picture, analysis.geometry, analysis.notes))
        for model in analysis.models:
            self.add(model)

    def kept(self) -> AnalysisRequest:
        """The part of the request for which nothing has to be computed, as far as it goes."""
        r, ids = self.request, self.request.models
        there = [e for e in r.epsilons if all(self._point(i, e) in self._have for i in ids)]
        flips = r.flip_point and all(self._flip(i) in self._have for i in ids)
        return replace(r, epsilons=tuple(there), flip_point=flips)

    def remaining(self) -> AnalysisRequest | None:
        """What is still to compute, as one request; None where all is there."""
        r, have = self.request, self._have
        lacking = {i: [e for e in r.epsilons if self._point(i, e) not in have] for i in r.models}
        no_flip = [i for i in r.models if r.flip_point and self._flip(i) not in have]
        ids = [i for i in r.models if lacking[i] or i in no_flip or self._clean(i) not in have]
        if not ids:
            return None
        epsilons = tuple(e for e in r.epsilons if any(e in lacking[i] for i in ids))
        return replace(r, models=tuple(ids), epsilons=epsilons, flip_point=bool(no_flip))

    def analysis(self, seconds: float = 0.0) -> Analysis:
        """All parts together; none may be missing."""
        seen = self._have[self._seen()]
        return Analysis(
            request=self.request,
            x=seen.x,
            picture=seen.picture,
            geometry=seen.geometry,
            models=self.models(),
            notes=seen.notes,
            seconds=seconds,
            sha256=self._digest,
        )

    def models(self) -> tuple[ModelAnalysis, ...]:
        """What the models say; no part of theirs may be missing."""
        r, models = self.request, []
        for i in r.models:
            clean: Clean = self._have[self._clean(i)]
            points = tuple(self._have[self._point(i, epsilon)] for epsilon in r.epsilons)
            flip = self._have[self._flip(i)] if r.flip_point else None
            models.append(
                ModelAnalysis(self.manifests[i], clean.prediction, clean.cam, points, flip)
            )
        return tuple(models)
