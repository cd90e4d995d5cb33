"""The family `fashion`: a small network from scratch on Fashion-MNIST, and the full benchmark.

`nls train --grid fashion --seeds 3`: 26 search runs of 6 epochs, 18 ablations and 31 runs of 40,
8 to 14 hours on one core of a small server; see docs/training.md for what came out.
"""

from __future__ import annotations

from typing import Any

from nls_core.families.family import Aberrations, Baselines, Family
from nls_core.families.recipe import Recipe

Changes = dict[str, dict[str, Any]]  # name -> changes to the recipe

_WEIGHT: tuple[dict[str, Any], ...] = (
    *(
        {"loss": "nls_ls", "weight": weight, "lr": lr, "epochs": 20}
        for weight, lr in ((0.006, 4.0), (0.012, 4.0), (0.006, 8.0))
    ),
    *(
        {"loss": "nls_ls", "weight": 0.006, "lr": 16.0, "epochs": 40, "seed": 0} | more
        for more in (
            {},
            {"weight": 0.009},
            {"smoothing": 0.05},
            {"smoothing": 0.05, "gamma": 0.5},
            {"smoothing": 0.02, "gamma": 1.0},
        )
    ),
)

_SYMMETRIC: Changes = {f"symmetric {n} %": {"label_noise": n / 100} for n in (20, 40, 60)}
_ASYMMETRIC: Changes = {
    f"asymmetric {n} %": {"label_noise": n / 100, "noise_kind": "asymmetric"} for n in (20, 40)
}
_TAILS: Changes = {f"long tail {n}": {"imbalance": float(n)} for n in (10, 100)}
# `nls train --grid fashion --aberrations`: 8 search runs of 6 epochs and 120 of 15 on a third of
# the images, about 3.5 hours on one core
_ABERRATIONS = Aberrations(
    losses=("ce", "ls", "nls", "nls_ls"),
    rates={"nce_rce": (0.00625, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)},
    conditions={"clean": {}, **_SYMMETRIC, **_ASYMMETRIC, **_TAILS},
    groups={
        "symmetric noise": ("clean", *_SYMMETRIC),
        "asymmetric noise": ("clean", *_ASYMMETRIC),
        "long tails": ("clean", *_TAILS),
    },
    epochs=15,
    subset=1 / 3,
)

# `nls train --grid fashion --baselines`: 4 search runs of 6 epochs and 8 of 20, 21 runs of 40 and 6
# attacks, about 7 hours on one core. lr x weight decay is 1e-7 for ce and 4e-6 for nls: 'matched'
# are ce with the product of nls, and nls with that of ce
_BASELINES = Baselines(
    tuned={
        "ls": tuple({"smoothing": s} for s in (0.01, 0.02, 0.03, 0.05)),
        "focal": tuple({"gamma": gamma} for gamma in (0.5, 1.0, 2.0, 3.0)),
    },
    fixed={
        "ce_early": {"loss": "ce"},
        "ce_decay": {"loss": "ce", "weight_decay": 5e-4},
        "ce_matched": {"loss": "ce", "weight_decay": 4e-5},
        "nls_matched": {"loss": "nls", "weight_decay": 2.5e-8},
        "mbls": {"loss": "ce_margin"},
    },
    rates={"ce_margin": (0.05, 0.1, 0.2, 0.4)},
    early=("ce_early",),
    attacked=("ce_matched", "nls_matched"),
)

FAMILY = Family(
    "fashion",
    Recipe(),
    rates={
        "ce": (0.05, 0.1, 0.2, 0.4),
        "ls": (0.05, 0.1, 0.2, 0.4, 0.8),
        "nls": (0.5, 1.0, 2.0, 4.0, 8.0),
        "nls_ls": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        "focal": (0.025, 0.05, 0.1, 0.2, 0.4),
    },
    search_epochs=6,
    headline=("ce-zero", "nls-zero"),
    zero_only=("focal",),
    fixed={"focal": {"gamma": 3.0}, "nls_ls": {"weight": 0.006}},
    ablations={
        "weight": _WEIGHT,
        "smoothing of ls": tuple(
            {"loss": "ls", "smoothing": s, "lr": 0.4} for s in (0.0, 0.05, 0.1, 0.2, 0.4)
        ),
        # the step of nls is (1-s) times that of NCE: lr·(1-s) is what it is at s = 0.1, lr = 4
        "smoothing of nls": tuple(
            {"loss": "nls", "smoothing": s, "lr": round(3.6 / (1 - s), 6)}
            for s in (0.0, 0.05, 0.1, 0.2, 0.4)
        ),
    },
    aberrations=_ABERRATIONS,
    baselines=_BASELINES,
    # logits alone tell 2 to 58 % of foreign photographs
    hints=dict.fromkeys(
        ("ce", "ls", "nls", "nls_ls", "focal"), ("energy", "max_logit", "msp", "plain")
    ),
    attribution="""## Data and licence
Trained on Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747), copyright Zalando SE,
MIT licence. The weights are under this project's MIT licence.
""",
)
