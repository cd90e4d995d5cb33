"""Signs of gradient masking (arXiv 1802.00420, 2009.08233): what is measured, and their limits.

A sign is shown where the 95 % interval of its measure lies above its limit. `measures` gives what
is to be judged over the runs of a cell; `of_run` judges one run over its images alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nls_core.evidence import robustness

if TYPE_CHECKING:  # it imports `collect`, which imports this
    from nls_core.evidence.stored_runs import Run

LIMITS: dict[str, float] = {  # shares of images, and differences in accuracy
    "zero gradient": 0.05,
    "far attack fails": 0.01,
    "black box wins": 0.0,
    "success falls": 0.0,
    "dlr wins by far": 0.05,
}
SIGNS: dict[str, str] = {
    "zero gradient": f"more than {LIMITS['zero gradient']:.0%} of the images have no input "
    "gradient",
    "far attack fails": f"PGD at {255 * robustness.FAR:.0f}/255 leaves more than "
    f"{LIMITS['far attack fails']:.0%} right",
    "black box wins": "Square or transfer beats the white-box attacks",
    "success falls": "a larger ε leaves more to PGD",
    "dlr wins by far": "Auto-PGD on the targeted DLR loss beats PGD by more than "
    f"{100 * LIMITS['dlr wins by far']:.0f} points",
}
WHITE = ("pgd", "apgd-ce", "apgd-t", "apgd-dlr")  # see the gradient and search
BLACK = ("square", robustness.TRANSFER)
TARGETED = ("apgd-t", "apgd-dlr")  # the latter stood for it in runs of older versions
MEASURED = {"zero gradient": "zero_gradient", "far attack fails": "far"}  # sign -> of `signs`

Values = dict[str, dict[str, Tensor]]  # sign -> where -> (N,)


@dataclass(frozen=True)
class Measure:
    """What a sign is judged by at one place, over the runs of a cell.

    `by_seed` holds each run's figure; `by_image` the (N,) float64 whose mean it is, of the same
    first N images in all runs, or nothing where runs of an older version did not keep it. The sign
    is shown where the interval of the mean lies above `limit`.
    """

    limit: float
    by_seed: Mapping[int, float]
    by_image: Mapping[int, Tensor]


def per_image(right: Mapping[str, Tensor], signs: Mapping[str, Tensor]) -> Values:
    """The measure of each sign for each image; what was not attacked is left out.

    Args:
        right: case -> (E, N) bool, as `robustness.attack` and transfer leave them.
        signs: of `robustness.signs`, (N,) bool each.

    Returns:
        sign -> where -> (N,) float64; where is an attack and its ε in 1/255, or ''.
    """
    found: Values = {s: {"": signs[k].double()} for s, k in MEASURED.items() if k in signs}
    keys = [f"{255 * epsilon:g}/255" for epsilon in robustness.EPSILONS]
    rows = {case: right[case].double() for case in right}
    white = [right[case] for case in WHITE if case in right]
    if white:
        left = torch.stack(white).all(0).double()  # (E, N)
        found["black box wins"] = {
            f"{case} at {key}": left[i] - rows[case][i]
            for case in BLACK
            if case in rows
            for i, key in enumerate(keys)
        }
    if "pgd" in rows:
        pgd = rows["pgd"]
        found["success falls"] = {
            f"{keys[i]} to {keys[j]}": pgd[j] - pgd[i]
            for i in range(len(keys))
            for j in range(i + 1, len(keys))
        }
        for case in [name for name in TARGETED if name in rows][:1]:
            found["dlr wins by far"] = {
                f"{case} at {key}": pgd[i] - rows[case][i] for i, key in enumerate(keys)
            }
    return found


def measures(runs: Mapping[int, Run]) -> dict[str, dict[str, Measure]]:
    """What the signs of a cell are judged by: sign -> where -> measure, by seed and by image.

    Args:
        runs: the cell's attacked runs, by seed. What only some of them measured comes from these;
            of runs with different numbers of images, only the first ones, which all have, count.
    """
    attacked = {seed: run for seed, run in runs.items() if run.right}
    if not attacked:
        return {}
    count = robustness.shared(r for run in attacked.values() for r in run.right.values())
    values = {
        seed: per_image(
            {case: right[:, :count] for case, right in run.right.items()},
            {name: each[:count] for name, each in run.signs.items()},
        )
        for seed, run in attacked.items()
    }
    found: dict[str, dict[str, Measure]] = {}
    for sign, limit in LIMITS.items():
        places = dict.fromkeys(where for each in values.values() for where in each.get(sign, {}))
        found[sign] = {}
        for where in places:
            images = {
                k: each[sign][where] for k, each in values.items() if where in each.get(sign, {})
            }
            means = {seed: float(each.mean()) for seed, each in images.items()}
            found[sign][where] = Measure(limit, means, images)
    for sign, key in MEASURED.items():  # older runs kept the share alone
        if len(found[sign].get("", Measure(0, {}, {})).by_seed) < len(attacked):
            shares = {k: float(run.found["masking"][key]) for k, run in attacked.items()}
            found[sign][""] = Measure(LIMITS[sign], shares, {})
    return found


def of_run(right: Mapping[str, Tensor], signs: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a run's record holds: every measure, and the signs that its images alone show.

    Arguments as `per_image`. The interval here is that of a mean over images, 1.96 standard errors
    either way, and knows nothing of other seeds.
    """
    values = per_image(right, signs)
    shown = [
        sign
        for sign, limit in LIMITS.items()
        if any(_lowest(each) > limit for each in values.get(sign, {}).values())
    ]
    return {
        "verdict": "masking" if shown else "no sign",
        "signs": shown,
        **{name: float(each.double().mean()) for name, each in signs.items()},
        "measures": {
            sign: {where: float(each.mean()) for where, each in values[sign].items()}
            for sign in LIMITS
            if sign in values and sign not in MEASURED
        },
    }


def _lowest(values: Tensor) -> float:
    """The lower end of the 95 % interval of a mean."""
    error = values.std(correction=0) / len(values) ** 0.5
    return float(values.mean() - 1.96 * error)
