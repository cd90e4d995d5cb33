"""Adversarial perturbations: pure functions (model, x, y, *, epsilon, …) -> adversarial x.

Input gradients come from `torch.autograd.grad` on a model in eval mode with frozen weights; its
flags and `.grad` are afterwards as before. What all attacks share is in `threat`.

Sources: Goodfellow et al. 2014, arXiv 1412.6572 (FGSM); Madry et al. 2017, arXiv 1706.06083
(PGD); Croce & Hein 2020, arXiv 2003.01690 (Auto-PGD, DLR loss; see `auto_pgd`); Andriushchenko et
al. 2020, arXiv 1912.00049 (Square).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nls_core.attacks.auto_pgd import apgd
from nls_core.attacks.gradient import fgsm, pgd_l2, pgd_linf
from nls_core.attacks.noise import gaussian, salt_pepper
from nls_core.attacks.square_search import square

Attack = Callable[..., Tensor]


ATTACKS: dict[str, Attack] = {
    "fgsm": fgsm,
    "pgd-linf": pgd_linf,
    "pgd-l2": pgd_l2,
    "apgd-dlr": apgd,
    "square": square,
    "gaussian": gaussian,
    "salt-pepper": salt_pepper,
}
NORMS: dict[str, str] = {name: "l2" if name == "pgd-l2" else "linf" for name in ATTACKS}
BY_GRADIENT = ("fgsm", "pgd-linf", "pgd-l2")  # these take `first_gradient`
