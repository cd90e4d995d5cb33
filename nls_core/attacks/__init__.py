"""Adversarial perturbations: `ATTACKS[name](model, x, y, *, epsilon, …)` -> adversarial x.

Input gradients come from `torch.autograd.grad` on a model in eval mode with frozen weights; its
flags and `.grad` are afterwards as before. What all attacks share is in `threat`.

Sources: Goodfellow et al. 2014, arXiv 1412.6572 (FGSM); Madry et al. 2017, arXiv 1706.06083
(PGD); Croce & Hein 2020, arXiv 2003.01690 (Auto-PGD, DLR loss, AutoAttack; see `auto_pgd` and
`ensemble`); Croce & Hein 2019, arXiv 1907.02044 (FAB); Andriushchenko et al. 2020, arXiv 1912.00049
(Square).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nls_core.attacks.auto_pgd import apgd, apgd_ce, apgd_t
from nls_core.attacks.ensemble import autoattack
from nls_core.attacks.fast_boundary import fab_t
from nls_core.attacks.gradient import fgsm, pgd_l2, pgd_linf
from nls_core.attacks.noise import gaussian, salt_pepper
from nls_core.attacks.square_search import square


@dataclass(frozen=True)
class Attack:
    """An attack and what menus, limits and sentences have to know of it.

    `norm` is 'linf' or 'l2', that of ε. `takes_gradient`: it accepts `first_gradient`. `cost` is in
    forward passes for each strength and step, measured by `scripts/measure_costs.py`: where nothing
    succeeds, for those that stop early; 0 where it needs no more than the first gradient, however
    many steps are asked for. `weak`: that it fails proves nothing, so no sentence says that a model
    holds against it. `traced`: it tells `Options.trace` what the model says at each step.
    `aims`: it can be `targeted`, that is led towards one class.
    """

    run: Callable[..., Tensor]
    norm: str
    takes_gradient: bool
    cost: float
    meaning: str  # one sentence
    weak: bool = False
    traced: bool = False
    aims: bool = True

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, epsilon: float | Tensor, **options: Any
    ) -> Tensor:
        """Perturb x; arguments, result and errors as `gradient.pgd`, options as `threat.Options`.

        Args:
            model: from x to logits (B, K).
            x: (B, C, H, W) in [0, 1].
            y: (B,) integer labels.
            epsilon: radius in pixel units, one or (B,).
            options: those of `run`.
        """
        return self.run(model, x, y, epsilon=epsilon, **options)


ATTACKS: dict[str, Attack] = {
    "fgsm": Attack(fgsm, "linf", True, 0, "One step along the sign of the gradient.", weak=True),
    "pgd-linf": Attack(
        pgd_linf,
        "linf",
        True,
        3,
        "Many steps along the gradient's sign, each pixel within ε.",
        traced=True,
    ),
    "pgd-l2": Attack(
        pgd_l2,
        "l2",
        True,
        3,
        "Many steps along the gradient, the whole change within ε.",
        traced=True,
    ),
    "apgd-ce": Attack(
        apgd_ce,
        "linf",
        False,
        4,
        "Gradient steps of a size of their own, from a random start to the first success.",
    ),
    "apgd-t": Attack(
        apgd_t,
        "linf",
        False,
        36,
        "The same towards each of the nine likeliest other classes in turn: slow and strong.",
    ),
    "apgd-dlr": Attack(
        apgd,
        "linf",
        False,
        4,
        "Gradient steps of a size of their own, on a loss that scaled logits share.",
    ),
    "fab-t": Attack(
        fab_t,
        "linf",
        False,
        46,
        "The smallest change that reaches one of nine other classes, cut to ε where it is larger.",
    ),
    # 50 queries a step, about half of which are saved by early successes of a usual picture
    "square": Attack(
        square, "linf", False, 25, "A random search that sees the answers only: no gradient."
    ),
    "autoattack": Attack(
        autoattack,
        "linf",
        False,
        145,
        "apgd-ce, apgd-t, fab-t and square in turn; as published with 100 steps: very slow.",
    ),
    "gaussian": Attack(
        gaussian,
        "linf",
        False,
        0,
        "A control: normal noise, the model is never asked.",
        weak=True,
        aims=False,
    ),
    "salt-pepper": Attack(
        salt_pepper,
        "linf",
        False,
        0,
        "A control: random pixels moved by ε either way.",
        weak=True,
        aims=False,
    ),
}
