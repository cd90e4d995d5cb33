"""The losses: cross-entropy, label smoothing, the normalized soft labels of the paper, and rivals.

Notation: logits z (B, K), lp = log_softmax(z), p = exp(lp), soft label q (B, K) with
q_k = s/K, plus 1-s at the labelled class. Focal weights are (1 - p_k)^γ.

Sources: Uppal & Giddwani, arXiv 2012.06876 (`nls`, `cosine`); Szegedy et al. 2016,
arXiv 1512.00567 (`ls`); Lin et al. 2017, arXiv 1708.02002 (γ); Mukhoti et al. 2020,
arXiv 2002.09437 (`focal`); Ma et al. 2020, arXiv 2006.13554 (NCE, of which `nls` is a rescaling,
the idea of summing two losses, as `nls_ls` does, and `nce_rce`); Liu et al. 2022, arXiv 2111.15430
(the hinge of `ce_margin` and `nls_margin`); Wei et al. 2022, arXiv 2205.09310 (`logitnorm`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from torch import Tensor

from nls_core.losses.basic import ce, cosine, focal, logitnorm, ls, nls
from nls_core.losses.inputs import soft_labels
from nls_core.losses.sums import WEIGHT, ce_margin, nce_rce, nls_ce, nls_ls, nls_margin

__all__ = [
    "LOSSES",
    "OPTIONS",
    "TITLES",
    "WEIGHT",
    "Loss",
    "accepts",
    "options",
    "soft_labels",
    "stated",
]

Loss = Callable[..., Tensor]
LOSSES: dict[str, Loss] = {
    "ce": ce,
    "ls": ls,
    "nls": nls,
    "nls_ls": nls_ls,
    "focal": focal,
    "cosine": cosine,
    "nls_margin": nls_margin,
    "ce_margin": ce_margin,
    "nls_ce": nls_ce,
    "logitnorm": logitnorm,
    "nce_rce": nce_rce,
}
# what people call them; one without an entry is called by its name
TITLES: dict[str, str] = {
    "ce": "cross-entropy",
    "ls": "label smoothing",
    "nls": "normalized soft labels",
    "nls_ls": "normalized soft labels + smoothing",
    "focal": "focal loss",
    "cosine": "cosine of soft labels",
    "nls_margin": "normalized soft labels + margin",
    "ce_margin": "cross-entropy + margin",
    "nls_ce": "normalized soft labels + cross-entropy",
    "logitnorm": "cross-entropy of normalized logits",
    "nce_rce": "normalized + reverse cross-entropy",
}
OPTIONS = ("weight", "margin", "tau")  # what only some losses have, fields of a recipe
WITHOUT_SMOOTHING = ("ce", "focal", "ce_margin", "logitnorm", "nce_rce")


def options(smoothing: float, gamma: float, **own: float | None) -> dict[str, float]:
    """The keyword arguments of a loss from a recipe; None of `OPTIONS` leaves the loss its own."""
    given = {name: value for name, value in own.items() if value is not None}
    return {"smoothing": smoothing, "gamma": gamma} | given


def accepts(loss: str, option: str) -> bool:
    """Whether a loss of `LOSSES` has an option of this name, such as 'weight'."""
    return option in inspect.signature(LOSSES[loss]).parameters


def stated(loss: str, given: Mapping[str, float]) -> dict[str, float]:
    """Of a loss's options those that change it; manifests state these alone."""
    unused = ("smoothing",) if loss in WITHOUT_SMOOTHING else ()
    return {name: value for name, value in given.items() if name not in unused}
