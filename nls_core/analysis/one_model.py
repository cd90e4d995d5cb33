"""What one model says of one picture, clean and attacked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from nls_core import families
from nls_core.analysis import flip, sweep
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.results import AnalysisRequest, CamMap, FlipPoint, ModelAnalysis, SweepPoint
from nls_core.errors import choose

Progress = Callable[[float, str], None]
FLIP = "flip point"
# numbers of input that are attacked at once on a processor: of more its caches hold less, and 16
# strengths of 224 pixels take a fifth longer together than in two halves
AT_ONCE = 8 * 3 * 224 * 224


def analyze(
    chosen: Loaded,
    x: torch.Tensor,
    request: AnalysisRequest,
    progress: Progress,
    lap: Callable[[str], None] = lambda phase: None,
) -> ModelAnalysis:
    """Ask a model, attack it at every strength of the request, and ask again.

    Args:
        chosen: the model.
        x: (1, C, H, W) in [0, 1], on the model's device.
        request: without strengths nothing is attacked.
        progress: called with the done share in [0, 1] and what comes next; between any two steps.
        lap: called with the name of a phase when it ends.
    """
    model, manifest = chosen.model, chosen.manifest
    layer = layer_of(request.layer, tuple(chosen.layers))
    progress(0.0, f"{manifest.id}: prediction")
    view = sweep.View(
        layer, manifest.temperature, lambda d: progress(0.05 * d, f"{manifest.id}: prediction")
    )
    clean = sweep.look(model, x, request, view)
    lap("predict")
    asked = _Asked(chosen, x, request, progress, lap)
    points = asked.points(clean, view) if request.epsilons else ()
    flips = asked.flip_point(clean.prediction.index) if request.flip_point else None
    cam = CamMap(request.cam, layer, clean.target, clean.values)
    return ModelAnalysis(manifest, clean.prediction, cam, points, flips)


@dataclass(frozen=True)
class _Asked:
    """What one model is asked; arguments as `analyze`."""

    chosen: Loaded
    x: torch.Tensor
    request: AnalysisRequest
    progress: Progress
    lap: Callable[[str], None]

    def points(self, clean: sweep.Look, view: sweep.View) -> tuple[SweepPoint, ...]:
        """What each strength does; as many at once as are fast."""
        wanted, size = self.request.epsilons, together(self.x)
        found: tuple[SweepPoint, ...] = ()
        for part in (wanted[i : i + size] for i in range(0, len(wanted), size)):

            def progress(
                d: float, what: str, done: int = len(found), more: int = len(part)
            ) -> None:
                self.progress(0.05 + 0.7 * (done + d * more) / len(wanted), what)

            request = replace(self.request, epsilons=part)
            found += replace(self, request=request, progress=progress).at_once(clean, view)
        return found

    def at_once(self, clean: sweep.Look, view: sweep.View) -> tuple[SweepPoint, ...]:
        """What each strength does, all as one batch."""
        model, x, request, progress = self.chosen.model, self.x, self.request, self.progress
        progress(0.0, f"{self.chosen.manifest.id}: {request.attack}")
        swept = sweep.attack(model, x, request, clean, lambda d: progress(0.7 * d, request.attack))
        self.lap("attack")
        progress(0.7, f"{self.chosen.manifest.id}: {request.cam}")
        view = replace(view, progress=lambda d: progress(0.7 + 0.3 * d, request.cam))
        seen = sweep.watch(model, swept.images, request, clean.target, view)
        points = sweep.points(x, swept, request, clean.prediction, seen)
        self.lap("maps under attack")
        return points

    def flip_point(self, label: int) -> FlipPoint:
        """The smallest strength found at which the label changes."""
        found = flip.find(
            self.chosen.model,
            self.x,
            label,
            ladder=families.strengths_of(self.chosen.manifest.id).doubling(),
            seed=self.request.seed,
            progress=lambda d: self.progress(0.75 + 0.2 * d, FLIP),
        )
        self.lap(FLIP)
        return found


def together(x: torch.Tensor) -> int:
    """How many pictures like x (1, C, H, W) are attacked at once; on a GPU all."""
    return max(1, AT_ONCE // x.numel()) if x.device.type == "cpu" else sys.maxsize


def layer_of(name: str | None, layers: Sequence[str]) -> str:
    """The layer of that name, or the last."""
    return layers[-1] if name is None else choose("layer", name, {layer: layer for layer in layers})
