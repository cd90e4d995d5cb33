"""The family `photos`: its name, learning rates, hints, and what its maps are asked."""

from __future__ import annotations

from nls_core import cams

NAME = "photos"
PADDINGS = ("zero", "partial")  # in this order: the rates are found with the first
# loss -> learning rates of the search; nls has small gradients, so its rates are larger
RATES: dict[str, tuple[float, ...]] = {
    "ce": (0.005, 0.01, 0.02),
    "ls": (0.005, 0.01, 0.02),
    "nls": (0.06, 0.12, 0.25),
    "nls_ls": (0.12, 0.25, 0.5),
}
# loss -> score of the hint 'perhaps none of my classes'. Trained with ls, the logits of ordinary
# photographs lie below those of cut-outs, so that energy would warn of every fourth.
HINTS = {"ce": "energy", "ls": "msp", "nls": "energy", "nls_ls": "energy"}
METHODS = tuple(name for name in cams.CAMS if name != "scorecam")  # it takes minutes an image
STATES = ("clean", "attacked")
EVERY = 3  # of the objects one is attacked, for the maps under attack
EPSILON, STEPS = 4 / 255, 10
