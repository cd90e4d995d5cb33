"""What each attack and map costs in forward passes: the factors of `nls_core/analysis/cost.py`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from nls_core import attacks, cams, zoo
from nls_core.analysis.analyzer import Analyzer
from nls_core.settings import Settings

STRENGTHS = 16
STEPS = 2
ROUNDS = 3


def seconds(work: Callable[[], object]) -> float:
    """Median of several runs after one to warm up."""
    times = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main() -> None:
    """A row for each method and model: seconds over those of a forward pass of as many pictures."""
    torch.manual_seed(0)
    analyzer = Analyzer(Settings())
    pairs = [model_id for family in analyzer.families() for model_id in analyzer.pair(family)]
    for model_id in pairs:
        model, manifest = zoo.load(model_id)
        x = torch.rand(STRENGTHS, manifest.channels, manifest.input_size, manifest.input_size)
        y = model(x).argmax(1)
        epsilon = torch.arange(1, STRENGTHS + 1) / 255
        forward = seconds(lambda model=model, x=x: model(x))  # type: ignore[misc]
        for name, attack in attacks.ATTACKS.items():
            spent = seconds(lambda: attack(model, x, y, epsilon=epsilon, steps=STEPS))  # noqa: B023
            tiny = epsilon / 1000  # nothing succeeds, so that no attack stops early
            most = seconds(lambda: attack(model, x, y, epsilon=tiny, steps=STEPS))  # noqa: B023
            passes, at_most = spent / forward / STEPS, most / forward / STEPS
            print(f"{model_id} {name}: {passes:.2f} a step, {at_most:.2f} at most")  # noqa: T201
        for name, cam in cams.CAMS.items():
            if cam.cost is None:
                continue  # a forward pass for each channel, by definition
            spent = seconds(lambda: cams.activation_maps(model, x, 0, method=name))  # noqa: B023
            print(f"{model_id} {name}: {spent / forward:.2f} a picture")  # noqa: T201


if __name__ == "__main__":
    main()
