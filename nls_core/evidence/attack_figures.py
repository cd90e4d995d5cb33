"""A cell's figures under attack, over its runs: accuracy, transfer, and whether it is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nls_core.evidence import masking
from nls_core.evidence.cells import BASE
from nls_core.evidence.robustness import CASES, epsilon_keys
from nls_core.evidence.stored_runs import Run, Runs
from nls_core.metrics import intervals, resampling
from nls_core.metrics.intervals import spread


def of_cell(cell: str, runs: Runs, resamples: int) -> dict[str, Any]:
    """`robust`, `attacked`, `masking` and `transfer` of a cell, as reports hold them.

    Args:
        cell: a key of `runs`.
        runs: of the whole family; the cell is compared with `BASE`.
        resamples: of the images, for the intervals.

    Returns:
        Nothing where no run of the cell was attacked.
    """
    of_all = comparable(runs)
    attacked = of_all[cell]
    if not attacked:
        return {}
    first = next(iter(attacked.values())).found
    keys = first.get("epsilons_255", epsilon_keys())
    base = {} if cell == BASE else of_all.get(BASE, {})
    found = {
        "robust": _robust(attacked, base, keys, resamples),
        "attacked": {
            name: {
                key: spread(run.found["attacked"][name][i] for run in attacked.values())
                for i, key in enumerate(keys)
            }
            for name in ("ece", "mean_confidence")
        },
    }
    if "masking" in first:  # it and transfer are looked for on a test split only
        found["masking"] = _masking(attacked, resamples)
        found["transfer"] = _transfer(attacked)
    return found


def comparable(runs: Runs) -> Runs:
    """The attacked runs; where some met all attacks of now, those alone.

    The worst of fewer attacks flatters, so runs of before stay out until they are measured again.
    """
    attacked = {
        cell: {seed: run for seed, run in seeds.items() if "robust" in run.found}
        for cell, seeds in runs.items()
    }
    now = {
        cell: {seed: run for seed, run in seeds.items() if run.found["robust"].keys() >= {*CASES}}
        for cell, seeds in attacked.items()
    }
    return now if any(now.values()) else attacked


def _robust(
    attacked: Mapping[int, Run], base: Mapping[int, Run], keys: Sequence[str], resamples: int
) -> dict[str, dict[str, Any]]:
    """Case -> ε of `keys` -> accuracy over the runs, and its difference to those of `base`."""
    table: dict[str, dict[str, Any]] = {}
    # some runs met more than others: the whole preset is for the seed that ships
    for case in dict.fromkeys(case for run in attacked.values() for case in run.found["robust"]):
        mine = {seed: run for seed, run in attacked.items() if case in run.found["robust"]}
        theirs = {seed: run for seed, run in base.items() if case in run.right}
        table[case] = {}
        for i, key in enumerate(keys):
            table[case][key] = spread(run.found["robust"][case][i] for run in mine.values())
            gap = difference(
                {seed: run.right[case][i] for seed, run in mine.items() if theirs},
                {seed: run.right[case][i] for seed, run in theirs.items()},
                resamples,
            )
            table[case][key] |= {"vs_ce_zero": gap} if gap else {}
    return table


def difference(
    mine: Mapping[int, Tensor], base: Mapping[int, Tensor], resamples: int
) -> dict[str, Any] | None:
    """The difference in robust accuracy, of right answers (M,) bool by seed; None without pairs.

    Runs that were attacked on fewer images are compared on those: all attack the first ones of the
    same permutation.
    """
    if not set(mine) & set(base):
        return None
    images = min(len(each) for each in (*mine.values(), *base.values()))

    def measured(right: Mapping[int, Tensor]) -> tuple[dict[int, float], dict[int, Tensor]]:
        cut = {seed: each[:images].double() for seed, each in right.items()}
        return {seed: float(each.mean()) for seed, each in cut.items()}, _drawn(cut, resamples)

    (ours, our_draws), (theirs, their_draws) = measured(mine), measured(base)
    gap = intervals.difference(ours, theirs, (our_draws, their_draws))
    return gap.as_difference() if gap else None


def _drawn(by_image: Mapping[int, Tensor], resamples: int) -> dict[int, Tensor]:
    """Seed -> (R,) means of figures (N,) of the same N images, on the same resamples."""
    images = min(len(each) for each in by_image.values())
    parts = resampling.shared(images, resamples)
    return {
        seed: torch.cat([part.mean(each[:images]) for part in parts])
        for seed, each in by_image.items()
    }


def _masking(attacked: Mapping[int, Run], resamples: int) -> dict[str, Any]:
    """Whether the gradients of a cell can be believed: what its runs show together."""
    of_runs = [run.found["masking"] for run in attacked.values()]
    shown = _signs(attacked, resamples)
    return {
        "verdict": "masking" if shown else "no sign",
        "signs": shown,
        "runs_with_signs": sum(bool(each["signs"]) for each in of_runs),
        "runs": len(of_runs),
        "zero_gradient": spread(each["zero_gradient"] for each in of_runs),
        "far": spread(each["far"] for each in of_runs),
    }


def _signs(attacked: Mapping[int, Run], resamples: int) -> list[str]:
    """The signs of masking whose interval over seeds and images lies above their limit."""
    found = []
    for sign, places in masking.measures(attacked).items():
        for measure in places.values():
            drawn = _drawn(measure.by_image, resamples) if measure.by_image else None
            own = intervals.interval(measure.by_seed, drawn)
            if own and own.low is not None and own.low > measure.limit:
                found.append(sign)
                break
    return found


def _transfer(attacked: Mapping[int, Run]) -> dict[str, dict[str, Any]]:
    """Source cell -> ε -> accuracy on its images, over seeds."""
    sources = {source for run in attacked.values() for source in run.found["transfer"]}
    return {
        source.split("/")[-1]: {
            key: spread(
                run.found["transfer"][source][i]
                for run in attacked.values()
                if source in run.found["transfer"]
            )
            for i, key in enumerate(epsilon_keys())
        }
        for source in sorted(sources)
    }
