"""Bytes -> picture -> x -> clean forward -> attack -> maps -> `Analysis`.

Everything that runs a model goes through one `Analyzer` and its `Backend`: activation maps hook
into the modules, so two computations on one model must never overlap.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from PIL import Image

from nls_core.analysis import parts, stored
from nls_core.analysis.backend import Backend, Work
from nls_core.analysis.cache import Store
from nls_core.analysis.here import Accelerate, Here
from nls_core.analysis.lane import Lane, Place, Queue
from nls_core.analysis.library import Library
from nls_core.analysis.memory import give_back
from nls_core.analysis.one_model import Progress
from nls_core.analysis.parts import Parts, Seen
from nls_core.analysis.requests import check_input, check_request
from nls_core.analysis.results import Analysis, AnalysisRequest, ModelAnalysis
from nls_core.analysis.timing import laps
from nls_core.images import Prepared, decode_image
from nls_core.settings import Settings

T = TypeVar("T")


class Analyzer(Library):
    """Answers `AnalysisRequest`s; thread-safe.

    `queue` bounds what runs or waits; `backend` runs the models; `lane` is the one thread of this
    process that computes, and `decoding` the one that decodes, so that a slow file holds up neither
    computations nor other routes.
    """

    def __init__(self, settings: Settings, accelerate: Accelerate | None = None) -> None:
        """`accelerate` is for a backend in this process: see `here.Here`."""
        super().__init__(settings)
        self.queue = Queue(settings.max_queue, settings.max_seconds)
        self.lane, self.decoding = Lane("compute", give_back), Lane("decode")
        self.computed: Store[Any] = Store(settings.max_cache_bytes)
        self.shelf = stored.Shelf(settings.static_dir / "examples")
        self.backend = self._backend(accelerate)

    def _backend(self, accelerate: Accelerate | None) -> Backend:
        if not self.settings.backend_url:
            return Here(self, self.lane, accelerate)
        from nls_core.analysis.remote import Remote  # noqa: PLC0415 - httpx, for those who need it

        return Remote(self.settings.backend_url, self.manifest)

    def layers(self, model_id: str) -> tuple[str, ...]:
        """The target layers of a model, in forward order; the last is the default."""
        known = self.loaded(model_id)
        return tuple((known or self.compute(lambda: self.load(model_id))).layers)

    @property
    def in_use(self) -> int:
        """Analyses that run or wait."""
        return self.queue.in_use

    def compute(self, work: Callable[[], T]) -> T:
        """Do some work without a model, in the one compute lane; errors as `Lane.run`."""
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
            CheckpointError, TooCostly, BackendDown: as `Backend.analyze`.
            QueueFull, Departed, Overdue: see `lane`.
        """
        begin = time.perf_counter()
        known = self._parts(image, request)
        if known.remaining() is None and known.seen is not None:
            return known.analysis(time.perf_counter() - begin)
        with self.queue.place() as place:
            seen = known.seen or self._see(image, request, place)
            known.add_seen(seen)
            self._compute(known, seen.prepared(), place, progress)
        progress(1.0, "done")
        return known.analysis(time.perf_counter() - begin)

    def _parts(self, image: bytes | Image.Image | None, request: AnalysisRequest) -> Parts:
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
            lap = laps(self.on_phase)
            picture = self._decode(image) if isinstance(image, bytes) else image
            seen = parts.see(picture, first)
            lap("decode")
            return seen

        return self.decoding.run(place, work)

    def _compute(self, known: Parts, prepared: Prepared, place: Place, progress: Progress) -> None:
        def watched(done: float, what: str) -> None:
            place.check()
            progress(done, what)

        self.backend.analyze(known, prepared, place, watched)

    def expected(self, request: AnalysisRequest) -> float | None:
        """About how many seconds a request computes where nothing is kept of it; None: unknown."""
        return self.backend.expected(request)

    def answer(self, prepared: Prepared, request: AnalysisRequest) -> tuple[ModelAnalysis, ...]:
        """What models say of what was prepared elsewhere, of which nothing is kept.

        Errors as `analyze`.
        """
        known = self._parts(None, request)
        check_input(prepared.x, self.manifest(request.models[0]))
        with self.queue.place() as place:
            self._compute(known, prepared, place, lambda done, what: None)
        return known.models()

    def run(self, model_id: str, work: Work[T]) -> T:
        """Do something else than an analysis with a model; see `Backend.run`.

        A long work is better cut into several, so that others get their turn in between.

        Raises:
            UnknownModel, CheckpointError: there is no such model, or it cannot be loaded.
            QueueFull, Departed, Overdue, BackendDown: as `Backend.analyze`.
        """
        with self.queue.place() as place:
            return self.backend.run(model_id, work, place)
