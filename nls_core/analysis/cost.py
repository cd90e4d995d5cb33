"""What an analysis will cost, before it is computed: forward passes times a model's own speed.

The factors stand beside each attack and map in their registries. They were measured as the time of
each method over that of a plain forward pass (`scripts/measure_costs.py` measures them again).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nls_core.analysis import flip
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.errors import TooCostly
from nls_core.families import strengths_of

FIRST = 4  # the prediction and its gradient
# a forward pass of less is over before several threads have agreed on who does what
SMALL = 0.003  # seconds; of the shipped families one is far below and one far above


@dataclass(frozen=True)
class Speed:
    """What decides a model's cost: seconds of a forward pass, channels of the target layer."""

    seconds: float
    channels: int


def estimate(request: AnalysisRequest, speeds: Mapping[str, Speed]) -> float:
    """Seconds that a request will compute; `speeds` by model id."""
    strengths, total = len(request.epsilons), 0.0
    for model_id in request.models:
        speed = speeds[model_id]
        one_map = CAMS[request.cam].passes(speed.channels)
        attack = strengths * (1 + ATTACKS[request.attack].cost * request.steps)
        flips = flip.passes(strengths_of(model_id).doubling()) if request.flip_point else 0
        total += speed.seconds * (FIRST + attack + flips + (strengths + 1) * one_map)
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
        "no flip point": replace(request, flip_point=False),
        f"the attack pgd-linf instead of {request.attack}": replace(request, attack="pgd-linf"),
        f"the map gradcam instead of {request.cam}": replace(request, cam="gradcam"),
    }
    costs = {what: estimate(less, speeds) for what, less in cheaper.items()}
    helps = sorted((cost, what) for what, cost in costs.items() if cost < 0.9 * expected)
    advice = "; ".join(f"{what} would take about {cost:.3g} s" for cost, what in helps)
    raise TooCostly(
        f"expected a request of at most {allowed:g} s of computing, got one of about "
        f"{expected:.3g} s on this machine; reduce it: {advice}"
    )


def allow(expected: float, allowed: float) -> None:
    """Refuse a work of which nothing can be reduced.

    Raises:
        TooCostly: it would compute for more than `allowed` seconds.
    """
    if expected > allowed:
        raise TooCostly(
            f"expected a work of at most {allowed:g} s of computing, got one of about "
            f"{expected:.3g} s on this machine; take a smaller model, or raise NLS_MAX_SECONDS"
        )


def threads_for(seconds: float, available: int) -> int:
    """How many threads are good for a model whose forward pass takes some seconds."""
    return 1 if seconds < SMALL else available


@torch.no_grad()
def forward_seconds(model: nn.Module, x: Tensor) -> float:
    """What a forward pass of x (B, C, H, W) takes, the least of three.

    On a CPU it is the computing time of a single thread: other work on the machine, which would
    make the model look slow for good, does not count.
    """
    threads, alone = torch.get_num_threads(), x.device.type == "cpu"
    clock = time.thread_time if alone else time.perf_counter
    times = []
    torch.set_num_threads(1 if alone else threads)
    try:
        for _ in range(3):
            begin = clock()
            model(x).cpu()  # waits for a GPU
            times.append(clock() - begin)
    finally:
        torch.set_num_threads(threads)
    return min(times)
