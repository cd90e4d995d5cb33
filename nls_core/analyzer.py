"""The spine: bytes -> picture -> x -> clean forward -> attack -> maps -> `Analysis`.

Everything that runs a model goes through one `Analyzer` and its one compute lane: activation maps
hook into the modules, so two computations on one model must never overlap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from nls_core import attacks, cams, nets, sweep, zoo
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.images import PREPROCESS, Prepared, decode_image, thumbnail
from nls_core.settings import Settings
from nls_core.types import (
    Analysis,
    AnalysisRequest,
    CamMap,
    InvalidInput,
    Manifest,
    ModelAnalysis,
    QueueFull,
    choose,
)

MAX_MODELS, MAX_EPSILONS, MAX_STEPS = 6, 16, 100
MAX_EPSILON = {"linf": 1.0, "l2": 16.0}  # pixel units; an image of 28x28 has L2 norm at most 28
T = TypeVar("T")
Report = Callable[[float, str], None]
Accelerate = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Loaded:
    """A model ready to run, with its manifest and the names of its target layers."""

    model: nets.Classifier
    manifest: Manifest
    layers: tuple[str, ...]


class Analyzer:
    """Answers `AnalysisRequest`s; thread-safe, one computation at a time."""

    def __init__(self, settings: Settings, accelerate: Accelerate | None = None) -> None:
        """`accelerate` wraps the computation where a GPU is lent per call: `server.zero_gpu`."""
        self.settings = settings
        self._accelerated = accelerate(self._analyze_models) if accelerate else None
        self._run = accelerate(self._work) if accelerate else self._work
        self.device = settings.torch_device()
        self._lane = threading.Lock()
        self._count, self._in_use = threading.Lock(), 0
        self._load = lru_cache(maxsize=None)(self._read)
        if settings.threads:
            torch.set_num_threads(settings.threads)

    def ids(self, family: str | None = None) -> tuple[str, ...]:
        """The ids of all models, or of a family's."""
        return zoo.available(self.settings.models_dir, family)

    def families(self) -> tuple[str, ...]:
        """The families that have models."""
        return tuple(dict.fromkeys(model_id.split("/")[0] for model_id in self.ids()))

    def manifest(self, model_id: str) -> Manifest:
        """One model's manifest, without loading its weights."""
        return zoo.read_manifest(model_id, self.settings.models_dir)

    def layers(self, model_id: str) -> tuple[str, ...]:
        """The target layers of a model, in forward order; the last is the default."""
        with self._queue():
            return self._load(model_id).layers

    def _read(self, model_id: str) -> Loaded:
        model, manifest = zoo.load(model_id, self.settings.models_dir, self.device)
        shape = (1, manifest.channels, manifest.input_size, manifest.input_size)
        return Loaded(model, manifest, cams.layer_names(model, shape))

    @property
    def in_use(self) -> int:
        """Analyses that run or wait."""
        return self._in_use

    @contextmanager
    def _queue(self) -> Iterator[None]:
        """Wait for the lane; with too many waiting, refuse at once."""
        with self._count:
            if self._in_use >= self.settings.max_queue:
                raise QueueFull(
                    f"{self.settings.max_queue} analyses are waiting already; try again in a moment"
                )
            self._in_use += 1
        try:
            with self._lane:
                yield
        finally:
            with self._count:
                self._in_use -= 1

    def decode(self, data: bytes) -> Image.Image:
        """Decode an upload under this deployment's limits; see `images.decode_image`."""
        return decode_image(
            data, max_bytes=self.settings.max_upload_bytes, max_pixels=self.settings.max_pixels
        )

    def analyze(
        self,
        image: bytes | Image.Image,
        request: AnalysisRequest,
        report: Report = lambda done, what: None,
    ) -> Analysis:
        """Compare models on one picture.

        Args:
            image: an image file's bytes, or a decoded RGB picture.
            request: what to compute; all its models must be of one family.
            report: called with the done share in [0, 1] and what comes next.

        Raises:
            InvalidInput: a bad request (unknown name, ε or class out of range, ImageRejected …).
            CheckpointError: a model cannot be loaded.
            QueueFull: too many analyses wait.
        """
        begin = time.perf_counter()
        manifests = [self.manifest(model_id) for model_id in request.models]
        check_request(request, manifests)
        picture = self.decode(image) if isinstance(image, bytes) else image
        first = manifests[0]
        prepared = PREPROCESS[first.preprocess](picture, first.input_size, first.channels)
        with self._queue():
            results: tuple[ModelAnalysis, ...]
            if self._accelerated:  # in another process: only what pickles goes there
                results = self._accelerated(prepared, request)
            else:
                results = self._analyze_models(prepared, request, report)
        report(1.0, "done")
        return Analysis(
            request=request,
            x=prepared.x[0].numpy(),
            picture=thumbnail(picture),
            geometry=prepared.geometry,
            models=results,
            notes=prepared.notes,
            seconds=time.perf_counter() - begin,
        )

    def run(self, model_id: str, work: Callable[[Loaded], T]) -> T:
        """Do something else than an analysis with a model, in the same one compute lane.

        A long work is better cut into several, so that others get their turn in between.

        Args:
            model_id: of the model to run.
            work: a function of a module, or a `partial` of one; where a GPU is lent per call, it
                and what it returns go to another process and back, so both must pickle.

        Raises:
            UnknownModel, CheckpointError: there is no such model, or it cannot be loaded.
            QueueFull: too many analyses wait.
        """
        with self._queue():
            result: T = self._run(model_id, work)
        return result

    def _work(self, model_id: str, work: Callable[[Loaded], T]) -> T:
        return work(self._load(model_id))

    def _analyze_models(
        self,
        prepared: Prepared,
        request: AnalysisRequest,
        report: Report = lambda done, what: None,
    ) -> tuple[ModelAnalysis, ...]:
        parts = zip(request.models, _parts(report, len(request.models)), strict=True)
        return tuple(self._analyze_model(self._load(i), prepared, request, p) for i, p in parts)

    def _analyze_model(
        self, loaded: Loaded, prepared: Prepared, request: AnalysisRequest, report: Report
    ) -> ModelAnalysis:
        model, manifest = loaded.model, loaded.manifest
        layer = _layer(request.layer, loaded.layers)
        x = prepared.x.to(self.device)  # (1, C, H, W)
        report(0.0, f"{manifest.id}: prediction")
        clean, gradient = sweep.look(model, x, request.attack_target, manifest.temperature)
        report(0.05, f"{manifest.id}: {request.attack}")
        swept = sweep.attack(
            model, x, request, (clean, gradient), lambda d: report(0.05 + 0.6 * d, request.attack)
        )
        report(0.65, f"{manifest.id}: {request.cam}")
        target = clean.index if request.target_class is None else request.target_class
        everything = torch.cat([x, swept])  # (1 + E, C, H, W): one batch for all maps
        values = cams.activation_maps(
            model,
            everything,
            target,
            method=request.cam,
            layer=layer,
            progress=lambda d: report(0.65 + 0.3 * d, request.cam),
        )
        first, *others = (CamMap(request.cam, layer, target, value) for value in values)
        predictions = sweep.predict(model, swept, manifest.temperature)
        seen = list(zip(predictions, others, strict=True))
        points = sweep.points(x, swept, request, clean, seen)
        return ModelAnalysis(manifest, clean, first, points)


def _layer(name: str | None, layers: Sequence[str]) -> str:
    return layers[-1] if name is None else choose("layer", name, {layer: layer for layer in layers})


def _parts(report: Report, count: int) -> Iterator[Report]:
    """Split one progress report into `count` equal, consecutive ones."""
    for index in range(count):
        yield lambda done, what, index=index: report((index + done) / count, what)  # type: ignore[misc]


def parse_epsilons(text: str) -> tuple[float, ...]:
    """Read comma-separated strengths in 1/255, as people write them, into pixel units.

    Raises:
        InvalidInput: a part is not a number.
    """
    try:
        return tuple(float(part) / 255 for part in text.split(","))
    except ValueError:
        raise InvalidInput(
            f"epsilons must be comma-separated numbers in 1/255, for example 1,2,4,8; got {text!r}"
        ) from None


def check_request(request: AnalysisRequest, manifests: Sequence[Manifest]) -> None:
    """Refuse what cannot be computed, before anything is.

    Raises:
        InvalidInput: with what was expected and what came.
    """
    choose("attack", request.attack, ATTACKS)
    choose("cam", request.cam, CAMS)
    families = sorted({manifest.family for manifest in manifests})
    if not 1 <= len(manifests) <= MAX_MODELS:
        raise InvalidInput(f"expected 1 to {MAX_MODELS} models; got {len(manifests)}")
    if len(set(request.models)) != len(request.models):
        raise InvalidInput(f"expected different models; got {', '.join(request.models)}")
    if len(families) > 1:
        raise InvalidInput(f"expected models of one family; got {', '.join(families)}")
    _check_epsilons(request)
    if not 1 <= request.steps <= MAX_STEPS:
        raise InvalidInput(f"steps must lie in [1, {MAX_STEPS}]; got {request.steps}")
    count = len(manifests[0].classes)
    for name in ("target_class", "attack_target"):
        value = getattr(request, name)
        if value is not None and not 0 <= value < count:
            raise InvalidInput(f"{name} must lie in [0, {count}); got {value}")


def _check_epsilons(request: AnalysisRequest) -> None:
    cap = MAX_EPSILON[attacks.NORMS[request.attack]]
    if not 1 <= len(request.epsilons) <= MAX_EPSILONS:
        raise InvalidInput(f"expected 1 to {MAX_EPSILONS} epsilons; got {len(request.epsilons)}")
    bad = [e for e in request.epsilons if not (np.isfinite(e) and 0 <= e <= cap)]
    if bad:
        raise InvalidInput(
            f"epsilon must lie in [0, {cap * 255:g}]/255 for {request.attack}; "
            f"got {', '.join(f'{e * 255:g}/255' for e in bad)}"
        )
