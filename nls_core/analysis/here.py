"""Models that run in this process: in its one compute lane, since maps hook into the modules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import torch

from nls_core.analysis import cost, one_model
from nls_core.analysis.backend import Work
from nls_core.analysis.lane import Lane, Place
from nls_core.analysis.library import Library
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.one_model import Progress
from nls_core.analysis.parts import Parts
from nls_core.analysis.results import AnalysisRequest, ModelAnalysis
from nls_core.analysis.timing import laps
from nls_core.images import Prepared

T = TypeVar("T")
Accelerate = Callable[[Callable[..., Any]], Callable[..., Any]]


class Here:
    """The models of a library, one computation at a time."""

    def __init__(self, library: Library, lane: Lane, accelerate: Accelerate | None = None) -> None:
        """`accelerate` wraps the computation where a GPU is lent per call: `server.zero_gpu`."""
        self._library, self._lane = library, lane
        self._lent_analysis = accelerate(self._analyze_all) if accelerate else None
        self._lent_work = accelerate(self._work) if accelerate else None
        self.threads = library.settings.threads or torch.get_num_threads()
        torch.set_num_threads(self.threads)

    def analyze(self, known: Parts, prepared: Prepared, place: Place, progress: Progress) -> None:
        """As `Backend.analyze`."""
        if missing := known.remaining():
            self._check_known_cost(missing)
            waits = laps(self._library.on_phase)

            def work() -> None:
                waits("wait")
                self._analyze(known, prepared, progress)

            self._lane.run(place, work)

    def run(self, model_id: str, work: Work[T], place: Place) -> T:
        """As `Backend.run`; where a GPU is lent per call nothing stops a work."""
        if lent := self._lent_work:
            return self._lane.run(place, lambda: cast(T, lent(model_id, work)))
        return self._lane.run(place, lambda: work(self._ready(model_id), place.check))

    def check(self) -> None:
        """It always can."""

    def _analyze(self, known: Parts, prepared: Prepared, progress: Progress) -> None:
        """Compute what is still missing, in the compute lane."""
        known.look()
        missing = known.remaining()
        if missing is None:
            return
        models = {model_id: self._library.load(model_id) for model_id in missing.models}
        self._check_cost(models, missing)
        # lent a GPU, in another process: only what pickles goes there
        compute = self._lent_analysis or partial(self._analyze_models, progress=progress)
        for result in compute(prepared, missing):
            known.add(result)  # one by one: what a model said stays when the next is interrupted

    def expected(self, request: AnalysisRequest) -> float | None:
        """As `Backend.expected`: how fast models are is known once they are in memory."""
        loaded = self._all_loaded(request)
        return cost.estimate(request, _speeds(loaded, request)) if loaded else None

    def _all_loaded(self, request: AnalysisRequest) -> Mapping[str, Loaded] | None:
        loaded = {i: known for i in request.models if (known := self._library.loaded(i))}
        return loaded if len(loaded) == len(request.models) else None

    def _check_known_cost(self, request: AnalysisRequest) -> None:
        if loaded := self._all_loaded(request):  # else it is checked once they are
            self._check_cost(loaded, request)

    def _check_cost(self, models: Mapping[str, Loaded], request: AnalysisRequest) -> None:
        cost.check(request, _speeds(models, request), self._library.settings.max_seconds)

    def _work(self, model_id: str, work: Work[T]) -> T:
        return work(self._ready(model_id), _on)

    def _ready(self, model_id: str) -> Loaded:
        """A model, and as many threads as are good for it; in the compute lane."""
        found = self._library.load(model_id)
        if torch.get_num_threads() != (threads := found.threads(self.threads)):
            torch.set_num_threads(threads)
        return found

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
        x = prepared.x.to(self._library.device)  # (1, C, H, W)
        turns = zip(request.models, _shares(progress, len(request.models)), strict=True)
        for model_id, share in turns:
            begin, lap = time.perf_counter(), laps(self._library.on_phase)
            found = one_model.analyze(self._ready(model_id), x, request, share, lap)
            self._library.on_model(model_id, time.perf_counter() - begin)
            yield found


def _speeds(models: Mapping[str, Loaded], request: AnalysisRequest) -> dict[str, cost.Speed]:
    speeds = {}
    for model_id, each in models.items():
        channels = each.layers[one_model.layer_of(request.layer, tuple(each.layers))][0]
        speeds[model_id] = cost.Speed(each.seconds, channels)
    return speeds


def _on() -> None:
    """Go on, whatever happens."""


def _shares(progress: Progress, count: int) -> Iterator[Progress]:
    """Split one progress callback into `count` equal, consecutive ones."""
    for index in range(count):
        yield lambda done, what, index=index: progress((index + done) / count, what)  # type: ignore[misc]
