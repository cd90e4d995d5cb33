"""Where models run: the one seam between those who ask and what computes.

`here.Here` runs them in this process, `remote.Remote` behind NLS_BACKEND_URL. All else (decoding,
what is kept, menus, reports) is done where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from nls_core.analysis.lane import Place
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.one_model import Progress
from nls_core.analysis.parts import Parts
from nls_core.analysis.results import AnalysisRequest
from nls_core.images import Prepared

T = TypeVar("T")
Check = Callable[[], None]  # called between any two steps; raises where the work should not go on
Work = Callable[[Loaded, Check], T]


class Backend(Protocol):
    """Runs models; whoever asks holds a place in the queue."""

    def analyze(self, known: Parts, prepared: Prepared, place: Place, progress: Progress) -> None:
        """Compute what is missing of an analysis, and add it.

        Raises:
            CheckpointError: a model cannot be loaded.
            TooCostly: it would compute for too long; the message says what to reduce.
            BackendDown: what computes is elsewhere, and cannot be reached.
            QueueFull, Departed, Overdue: see `lane`.
        """

    def run(self, model_id: str, work: Work[T], place: Place) -> T:
        """Do something else with a model; errors as `analyze`.

        `work` is a `partial` of one of `wire.WORKS`: it and what it returns may have to travel.
        """

    def expected(self, request: AnalysisRequest) -> float | None:
        """About how many seconds a request computes; None where that is not known yet."""

    def check(self) -> None:
        """Raise BackendDown unless it can compute now."""
