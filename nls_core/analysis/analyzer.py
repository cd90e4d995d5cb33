"""Bytes -> picture -> x -> clean forward -> attack -> maps -> `Analysis`.

Everything that runs a model goes through one `Analyzer` and its one compute lane: activation maps
hook into the modules, so two computations on one model must never overlap.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

import torch
from PIL import Image

from nls_core import families, zoo
from nls_core.analysis import choice, cost, loaded, sweep
from nls_core.analysis.cache import Store
from nls_core.analysis.lane import Lane, Queue
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.memory import give_back
from nls_core.analysis.requests import check_request
from nls_core.analysis.results import Analysis, AnalysisRequest, CamMap, ModelAnalysis
from nls_core.errors import CheckpointError, NLSLabError, choose
from nls_core.images import PREPROCESS, Prepared, decode_image, thumbnail
from nls_core.settings import Settings
from nls_core.types import Manifest

T = TypeVar("T")
Progress = Callable[[float, str], None]
Accelerate = Callable[[Callable[..., Any]], Callable[..., Any]]


class Analyzer:
    """Answers `AnalysisRequest`s; thread-safe, one computation at a time.

    `queue` bounds what runs or waits; `lane` is the one thread that computes, and `decoding` the
    one that decodes, so that a slow file holds up neither computations nor other routes.
    """

    def __init__(self, settings: Settings, accelerate: Accelerate | None = None) -> None:
        """`accelerate` wraps the computation where a GPU is lent per call: `server.zero_gpu`."""
        self.settings = settings
        self._accelerated = accelerate(self._analyze_models) if accelerate else None
        self._run = accelerate(self._work) if accelerate else self._work
        self.device = settings.torch_device()
        self.queue = Queue(settings.max_queue, settings.max_seconds)
        self.lane, self.decoding = Lane("compute", give_back), Lane("decode")
        self.finished: Store[Analysis] = Store(settings.max_cache_bytes)
        self.unusable: dict[str, str] = {}
        self._models: dict[str, Loaded] = {}
        if settings.threads:
            torch.set_num_threads(settings.threads)

    def check_models(self) -> dict[str, str]:
        """Check all models as they are now; those that cannot be used are left out from here on.

        Returns:
            Their ids, and why.
        """
        checked = zoo.verify(self.settings.models_dir)
        self.unusable = {model_id: why for model_id, why in checked.items() if why is not None}
        return self.unusable

    def states(self) -> dict[str, str]:
        """Every model: 'ready', or why it cannot be used."""
        return {i: self._state(i) for i in zoo.available(self.settings.models_dir)}

    def _state(self, model_id: str) -> str:
        try:
            self.manifest(model_id)
        except NLSLabError as error:
            return str(error)
        return "ready"

    def ids(self, family: str | None = None) -> tuple[str, ...]:
        """The ids of all models that can be used, or of a family's."""
        there = zoo.available(self.settings.models_dir, family)
        return tuple(model_id for model_id in there if model_id not in self.unusable)

    def families(self) -> tuple[str, ...]:
        """The families that have models, in the order of menus."""
        return families.ordered(model_id.split("/")[0] for model_id in self.ids())

    def pair(self, family: str) -> tuple[str, str]:
        """The ids of a family's models that a comparison begins with, baseline first."""
        return choice.models(family, self.ids(family), self.manifest)

    def manifest(self, model_id: str) -> Manifest:
        """One model's manifest, without loading its weights."""
        if model_id in self.unusable:
            raise CheckpointError(self.unusable[model_id])
        known = self._models.get(model_id)
        if known and known.is_current(self.settings.models_dir):
            return known.manifest
        return zoo.read_manifest(model_id, self.settings.models_dir)

    def layers(self, model_id: str) -> tuple[str, ...]:
        """The target layers of a model, in forward order; the last is the default."""
        known = self._models.get(model_id)
        return tuple((known or self.compute(lambda: self._load(model_id))).layers)

    def _load(self, model_id: str) -> Loaded:
        """The model, read when it is first asked for; only ever in the compute lane."""
        if model_id not in self._models:
            self._models[model_id] = loaded.load(model_id, self.settings.models_dir, self.device)
        return self._models[model_id]

    @property
    def in_use(self) -> int:
        """Analyses that run or wait."""
        return self.queue.in_use

    def compute(self, work: Callable[[], T]) -> T:
        """Do some work that computes, in the one compute lane; errors as `Lane.run`."""
        with self.queue.place() as place:
            return self.lane.run(place, work)

    def decode(self, data: bytes) -> Image.Image:
        """Decode an upload under this deployment's limits; see `images.decode_image`.

        In a lane of its own; errors as there and as `Lane.run`.
        """
        return self.in_decoder(partial(self._decode, data))

    def in_decoder(self, work: Callable[[], T]) -> T:
        """Read an upload, in the one thread that does so; errors as `Lane.run`."""
        with self.queue.place() as place:
            return self.decoding.run(place, work)

    def _decode(self, data: bytes) -> Image.Image:
        return decode_image(
            data, max_bytes=self.settings.max_upload_bytes, max_pixels=self.settings.max_pixels
        )

    def analyze(
        self,
        image: bytes | Image.Image,
        request: AnalysisRequest,
        progress: Progress = lambda done, what: None,
    ) -> Analysis:
        """Compare models on one picture. What was asked before and is still kept is not computed.

        Args:
            image: an image file's bytes, or a decoded RGB picture.
            request: what to compute; all its models must be of one family.
            progress: called with the done share in [0, 1] and what comes next.

        Raises:
            InvalidInput: a bad request (unknown name, ε or class out of range, ImageRejected …).
            CheckpointError: a model cannot be loaded.
            TooCostly: it would compute for too long; the message says what to reduce.
            QueueFull, Departed, Overdue: see `lane`.
        """
        self._check(request)
        digest = hashlib.sha256(image).hexdigest() if isinstance(image, bytes) else None
        key = f"{digest} {request!r}" if digest else None  # all that an analysis depends on
        if key and (found := self.finished.get(key)):
            return found
        with self.queue.place() as place:
            if isinstance(image, bytes):
                picture = self.decoding.run(place, partial(self._decode, image))
            else:
                picture = image

            def watched(done: float, what: str) -> None:
                place.check()
                progress(done, what)

            def work() -> Analysis:  # others may have asked for the same meanwhile
                if key and (found := self.finished.get(key)):
                    return found
                result = self._analyze(picture, request, watched, digest)
                if key:
                    self.finished.put(key, result)
                return result

            return self.lane.run(place, work)

    def _check(self, request: AnalysisRequest) -> None:
        check_request(request, [self.manifest(model_id) for model_id in request.models])
        known = {i: self._models[i] for i in request.models if i in self._models}
        if len(known) == len(request.models):  # else the cost is checked once they are loaded
            self._check_cost(known, request)

    def _analyze(
        self,
        picture: Image.Image,
        request: AnalysisRequest,
        progress: Progress,
        digest: str | None,
    ) -> Analysis:
        begin = time.perf_counter()
        models = {model_id: self._load(model_id) for model_id in request.models}
        self._check_cost(models, request)
        first = models[request.models[0]].manifest
        prepared = PREPROCESS[first.preprocess](picture, first.input_size, first.channels)
        results: tuple[ModelAnalysis, ...]
        if self._accelerated:  # in another process: only what pickles goes there
            results = self._accelerated(prepared, request)
        else:
            results = self._analyze_models(prepared, request, progress)
        progress(1.0, "done")
        return Analysis(
            request=request,
            x=prepared.x[0].numpy(),
            picture=thumbnail(picture),
            geometry=prepared.geometry,
            models=results,
            notes=prepared.notes,
            sha256=digest,
            seconds=time.perf_counter() - begin,
        )

    def _check_cost(self, models: Mapping[str, Loaded], request: AnalysisRequest) -> None:
        speeds = {}
        for model_id, each in models.items():
            channels = each.layers[_layer(request.layer, tuple(each.layers))][0]
            speeds[model_id] = cost.Speed(each.seconds, channels)
        cost.check(request, speeds, self.settings.max_seconds)

    def run(self, model_id: str, work: Callable[[Loaded], T]) -> T:
        """Do something else than an analysis with a model, in the same one compute lane.

        A long work is better cut into several, so that others get their turn in between.

        Args:
            model_id: of the model to run.
            work: a function of a module, or a `partial` of one; where a GPU is lent per call, it
                and what it returns go to another process and back, so both must pickle.

        Raises:
            UnknownModel, CheckpointError: there is no such model, or it cannot be loaded.
            QueueFull, Departed, Overdue: see `lane`.
        """
        return self.compute(lambda: cast(T, self._run(model_id, work)))

    def _work(self, model_id: str, work: Callable[[Loaded], T]) -> T:
        return work(self._load(model_id))

    def _analyze_models(
        self,
        prepared: Prepared,
        request: AnalysisRequest,
        progress: Progress = lambda done, what: None,
    ) -> tuple[ModelAnalysis, ...]:
        parts = zip(request.models, _parts(progress, len(request.models)), strict=True)
        return tuple(self._analyze_model(self._load(i), prepared, request, p) for i, p in parts)

    def _analyze_model(
        self, chosen: Loaded, prepared: Prepared, request: AnalysisRequest, progress: Progress
    ) -> ModelAnalysis:
        model, manifest = chosen.model, chosen.manifest
        layer = _layer(request.layer, tuple(chosen.layers))
        x = prepared.x.to(self.device)  # (1, C, H, W)
        progress(0.0, f"{manifest.id}: prediction")
        view = sweep.View(
            layer, manifest.temperature, lambda d: progress(0.05 * d, f"{manifest.id}: prediction")
        )
        clean = sweep.look(model, x, request, view)
        progress(0.05, f"{manifest.id}: {request.attack}")
        swept = sweep.attack(
            model, x, request, clean, lambda d: progress(0.05 + 0.6 * d, request.attack)
        )
        progress(0.65, f"{manifest.id}: {request.cam}")
        view = replace(view, progress=lambda d: progress(0.65 + 0.3 * d, request.cam))
        seen = sweep.watch(model, swept, request, clean.target, view)
        return ModelAnalysis(
            manifest,
            clean.prediction,
            CamMap(request.cam, layer, clean.target, clean.values),
            sweep.points(x, swept, request, clean.prediction, seen),
        )


def _layer(name: str | None, layers: Sequence[str]) -> str:
    return layers[-1] if name is None else choose("layer", name, {layer: layer for layer in layers})


def _parts(progress: Progress, count: int) -> Iterator[Progress]:
    """Split one progress callback into `count` equal, consecutive ones."""
    for index in range(count):
        yield lambda done, what, index=index: progress((index + done) / count, what)  # type: ignore[misc]
