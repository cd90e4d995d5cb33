"""Bytes -> picture -> x -> clean forward -> attack -> maps -> `Analysis`.

Everything that runs a model goes through one `Analyzer` and its one compute lane: activation maps
hook into the modules, so two computations on one model must never overlap.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import torch
from PIL import Image

from nls_core.analysis import cost, one_model, parts, stored
from nls_core.analysis.cache import Store
from nls_core.analysis.lane import Lane, Place, Queue
from nls_core.analysis.library import Library
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.memory import give_back
from nls_core.analysis.one_model import Progress
from nls_core.analysis.parts import Parts, Seen
from nls_core.analysis.requests import check_request
from nls_core.analysis.results import Analysis, AnalysisRequest, ModelAnalysis
from nls_core.images import Prepared, decode_image
from nls_core.settings import Settings

T = TypeVar("T")
Accelerate = Callable[[Callable[..., Any]], Callable[..., Any]]


class Analyzer(Library):
    """Answers `AnalysisRequest`s; thread-safe, one computation at a time.

    `queue` bounds what runs or waits; `lane` is the one thread that computes, and `decoding` the
    one that decodes, so that a slow file holds up neither computations nor other routes.
    """

    def __init__(self, settings: Settings, accelerate: Accelerate | None = None) -> None:
        """`accelerate` wraps the computation where a GPU is lent per call: `server.zero_gpu`."""
        super().__init__(settings)
        self._accelerated = accelerate(self._analyze_all) if accelerate else None
        self._run = accelerate(self._work) if accelerate else self._work
        self.queue = Queue(settings.max_queue, settings.max_seconds)
        self.lane, self.decoding = Lane("compute", give_back), Lane("decode")
        self.computed: Store[Any] = Store(settings.max_cache_bytes)
        self.shelf = stored.Shelf(settings.static_dir / "examples")
        self.threads = settings.threads or torch.get_num_threads()
        torch.set_num_threads(self.threads)

    def layers(self, model_id: str) -> tuple[str, ...]:
        """The target layers of a model, in forward order; the last is the default."""
        known = self._models.get(model_id)
        return tuple((known or self.compute(lambda: self.load(model_id))).layers)

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
        """Compare models on one picture. Parts that are still kept are not computed again.

        Args:
            image: an image file's bytes, or a decoded RGB picture.
            request: what to compute; all its models must be of one family. Without strengths it is
                the clean answers alone.
            progress: called with the done share in [0, 1] and what comes next.

        Raises:
            InvalidInput: a bad request (unknown name, ε or class out of range, ImageRejected …).
            CheckpointError: a model cannot be loaded.
            TooCostly: it would compute for too long; the message says what to reduce.
            QueueFull, Departed, Overdue: see `lane`.
        """
        begin = time.perf_counter()
        known = self._parts(image, request)
        missing = known.remaining()
        if missing is None and known.seen is not None:
            return known.analysis(time.perf_counter() - begin)
        self._check_known_cost(missing or request)
        with self.queue.place() as place:
            seen = known.seen or self._see(image, request, place)
            known.add_seen(seen)

            def watched(done: float, what: str) -> None:
                place.check()
                progress(done, what)

            self.lane.run(place, lambda: self._analyze(known, seen.prepared(), watched))
        progress(1.0, "done")
        return known.analysis(time.perf_counter() - begin)

    def _parts(self, image: bytes | Image.Image, request: AnalysisRequest) -> Parts:
        """What is kept of a request, or ships beside the examples; errors as `check_request`."""
        manifests = {model_id: self.manifest(model_id) for model_id in request.models}
        check_request(request, list(manifests.values()))
        digest = hashlib.sha256(image).hexdigest() if isinstance(image, bytes) else None
        known = Parts(self.computed, digest, request, manifests)
        if not isinstance(image, bytes) or digest is None or known.remaining() is None:
            return known
        if shipped := self.shelf.get(digest, request, image, self.manifest):
            known.add_all(shipped)
        return known

    def kept(self, image: bytes, request: AnalysisRequest) -> AnalysisRequest:
        """The strengths of a request, and the flip point, for which nothing must be computed."""
        return self._parts(image, request).kept()

    def has(self, image: bytes, request: AnalysisRequest) -> bool:
        """Whether an answer is at hand, without computing."""
        return self._parts(image, request).remaining() is None

    def _see(self, image: bytes | Image.Image, request: AnalysisRequest, place: Place) -> Seen:
        """Decode and convert a picture, in the lane for that."""
        first = self.manifest(request.models[0])

        def work() -> Seen:
            picture = self._decode(image) if isinstance(image, bytes) else image
            return parts.see(picture, first)

        return self.decoding.run(place, work)

    def _analyze(self, known: Parts, prepared: Prepared, progress: Progress) -> None:
        """Compute what is still missing, in the compute lane."""
        known.look()
        missing = known.remaining()
        if missing is None:
            return
        models = {model_id: self.load(model_id) for model_id in missing.models}
        self._check_cost(models, missing)
        # lent a GPU, in another process: only what pickles goes there
        compute = self._accelerated or partial(self._analyze_models, progress=progress)
        for result in compute(prepared, missing):
            known.add(result)  # one by one: what a model said stays when the next is interrupted

    def _check_known_cost(self, request: AnalysisRequest) -> None:
        if loaded := self._all_loaded(request):  # else it is checked once they are
            self._check_cost(loaded, request)

    def _all_loaded(self, request: AnalysisRequest) -> Mapping[str, Loaded] | None:
        loaded = {i: self._models[i] for i in request.models if i in self._models}
        return loaded if len(loaded) == len(request.models) else None

    def expected(self, request: AnalysisRequest) -> float | None:
        """About how many seconds a request computes where nothing is kept of it.

        None where its models are not in memory: how fast they are is not known yet.
        """
        loaded = self._all_loaded(request)
        return cost.estimate(request, self._speeds(loaded, request)) if loaded else None

    def _check_cost(self, models: Mapping[str, Loaded], request: AnalysisRequest) -> None:
        cost.check(request, self._speeds(models, request), self.settings.max_seconds)

    def _speeds(
        self, models: Mapping[str, Loaded], request: AnalysisRequest
    ) -> dict[str, cost.Speed]:
        speeds = {}
        for model_id, each in models.items():
            channels = each.layers[one_model.layer_of(request.layer, tuple(each.layers))][0]
            speeds[model_id] = cost.Speed(each.seconds, channels)
        return speeds

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
        return work(self._ready(model_id))

    def _ready(self, model_id: str) -> Loaded:
        """A model, and as many threads as are good for it; in the compute lane."""
        found = self.load(model_id)
        if torch.get_num_threads() != (threads := found.threads(self.threads)):
            torch.set_num_threads(threads)
        return found

    def attend(self, model_id: str, work: Callable[[Loaded, Callable[[], None]], T]) -> T:
        """As `run`, for a work of many steps, which calls what it is given between any two of them.

        That raises where the work should not go on. Where a GPU is lent per call it does nothing.
        """
        if self._accelerated:
            return self.run(model_id, partial(_unattended, work))
        with self.queue.place() as place:
            return self.lane.run(place, lambda: work(self._ready(model_id), place.check))

    def _analyze_all(
        self, prepared: Prepared, request: AnalysisRequest
    ) -> tuple[ModelAnalysis, ...]:
        return tuple(self._analyze_models(prepared, request))

    def _analyze_models(
        self,
        prepared: Prepared,
        request: AnalysisRequest,
        progress: Progress = lambda done, what: None,
    ) -> Iterator[ModelAnalysis]:
        x = prepared.x.to(self.device)  # (1, C, H, W)
        turns = zip(request.models, _shares(progress, len(request.models)), strict=True)
        for model_id, share in turns:
            yield one_model.analyze(self._ready(model_id), x, request, share)


def _unattended(work: Callable[[Loaded, Callable[[], None]], T], loaded: Loaded) -> T:
    return work(loaded, lambda: None)


def _shares(progress: Progress, count: int) -> Iterator[Progress]:
    """Split one progress callback into `count` equal, consecutive ones."""
    for index in range(count):
        yield lambda done, what, index=index: progress((index + done) / count, what)  # type: ignore[misc]
