"""What an analysis will cost, before it is computed: forward passes times a model's own speed.

The factors were measured as the time of each method over that of a plain forward pass, for both
families (`scripts/measure_costs.py` measures them again).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nls_core.analysis.results import AnalysisRequest
from nls_core.errors import TooCostly

# attack -> forward passes for each strength and step; 0: it needs no more than the first gradient
PER_STEP: dict[str, float] = {
    "fgsm": 0,
    "pgd-linf": 3,
    "pgd-l2": 3,
    "apgd-dlr": 4,
    "square": 25,  # 50 queries, about half of which are saved by early successes
    "gaussian": 0,
    "salt-pepper": 0,
}
PER_CHANNEL = -1.0  # as a map's cost: one forward pass for each channel of the target layer
# map -> forward passes for each picture
PER_MAP: dict[str, float] = {
    "gradcam": 4,
    "gradcam++": 4,
    "hirescam": 4,
    "layercam": 4,
    "eigencam": 10,
    "scorecam": PER_CHANNEL,
}
FIRST = 4  # the prediction and its gradient


@dataclass(frozen=True)
class Speed:
    """What decides a model's cost: seconds of a forward pass, channels of the target layer."""

    seconds: float
    channels: int


def estimate(request: AnalysisRequest, speeds: Mapping[str, Speed]) -> float:
    """Seconds that a request will compute; `speeds` by model id."""
    strengths, total = len(request.epsilons), 0.0
    for model_id in request.models:
        speed, one_map = speeds[model_id], PER_MAP[request.cam]
        if one_map == PER_CHANNEL:
            one_map = speed.channels
        attack = strengths * (1 + PER_STEP[request.attack] * request.steps)
        total += speed.seconds * (FIRST + attack + (strengths + 1) * one_map)
    return total


def check(request: AnalysisRequest, speeds: Mapping[str, Speed], allowed: float) -> None:
    """Refuse what would compute for more than `allowed` seconds.

    Raises:
        TooCostly: with what to reduce, and by how much that alone would help.
    """
    expected = estimate(request, speeds)
    if expected <= allowed:
        return
    cheaper = {
        "one model": replace(request, models=request.models[:1]),
        "one strength": replace(request, epsilons=request.epsilons[:1]),
        "one attack step": replace(request, steps=1),
        f"the map gradcam instead of {request.cam}": replace(request, cam="gradcam"),
    }
    costs = {what: estimate(less, speeds) for what, less in cheaper.items()}
    helps = sorted((cost, what) for what, cost in costs.items() if cost < 0.9 * expected)
    advice = "; ".join(f"{what} would take about {cost:.3g} s" for cost, what in helps)
    raise TooCostly(
        f"expected a request of at most {allowed:g} s of computing, got one of about "
        f"{expected:.3g} s on this machine; reduce it: {advice}"
    )
