"""What Auto-PGD leaves right, here and in torchattacks, which is independent of it.

`python scripts/compare_attacks.py fashion/ce-zero fashion/nls-zero` takes some minutes on a core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
import torchattacks
from torch import Tensor, nn

from nls_core import zoo
from nls_core.attacks import ATTACKS
from nls_core.evidence import measure, robustness
from nls_core.settings import Settings

IMAGES = 300
EPSILON = 4 / 255
STEPS = 100

# name -> (model, x, y) -> adversarial x
WAYS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "apgd-ce": lambda model, x, y: robustness.CASES["apgd-ce"](model, x, y, EPSILON),
    "apgd-t": lambda model, x, y: ATTACKS["apgd-t"](model, x, y, epsilon=EPSILON, steps=STEPS),
    "apgd-t, giving up": lambda model, x, y: robustness.CASES["apgd-t"](model, x, y, EPSILON),
    "torchattacks APGD": lambda model, x, y: torchattacks.APGD(model, eps=EPSILON, steps=STEPS)(
        x, y
    ),
    "torchattacks APGDT": lambda model, x, y: torchattacks.APGDT(model, eps=EPSILON, steps=STEPS)(
        x, y
    ),
}


def main(ids: list[str]) -> None:
    """A line for each model and way: accuracy left in %, and the seconds of computing."""
    torch.set_num_threads(1)
    for model_id in ids:
        model, manifest = zoo.load(model_id)
        _, test = measure.splits(str(manifest.recipe["dataset"]), Settings().data_dir)
        x, y = robustness.subset(test, IMAGES)
        left = {}
        for name, way in WAYS.items():
            begin = time.thread_time()
            left[name] = robustness.right(model, way(model, x, y), y)
            seconds = time.thread_time() - begin
            print(f"{model_id} {name}: {_percent(left[name])} ({seconds:.0f} s)", flush=True)  # noqa: T201
        ours = left["apgd-ce"] & left["apgd-t, giving up"]
        theirs = left["torchattacks APGD"] & left["torchattacks APGDT"]
        print(f"{model_id} both here: {_percent(ours)}; torchattacks: {_percent(theirs)}")  # noqa: T201


def _percent(right: Tensor) -> str:
    return f"{100 * float(right.double().mean()):.1f} %"


if __name__ == "__main__":
    main(sys.argv[1:])
