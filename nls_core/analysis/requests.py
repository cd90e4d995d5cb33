"""What a request may ask for, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from nls_core import families
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS
from nls_core.errors import InvalidInput, UnknownName, choose, shown, unknown
from nls_core.families.family import L2, Strengths
from nls_core.types import Manifest

MAX_MODELS = 6
MAX_EPSILONS = 16
MAX_STEPS = 100
NONE = "none"  # in place of strengths: no attack
UNIT = {"linf": 1 / 255, "l2": 1.0}  # what people count strengths in, by norm, in pixel units
MAX_EPSILON = {"linf": 1.0, "l2": 16.0}  # pixel units; an image of 28x28 has L2 norm at most 28


def strengths(model_id: str, attack: str) -> Strengths:
    """What an attack on a model is offered with: L∞ radii in 1/255, or L2 norms.

    Raises:
        UnknownName: there is no such attack.
    """
    is_l2 = choose("attack", attack, ATTACKS).norm == "l2"
    return L2 if is_l2 else families.strengths_of(model_id)


def in_pixels(values: Iterable[float], attack: str) -> tuple[float, ...]:
    """Strengths as `strengths` has them, in pixel units."""
    unit = UNIT[ATTACKS[attack].norm]
    return tuple(unit * value for value in values)


def epsilons(text: str | None, model_id: str, attack: str) -> tuple[float, ...]:
    """The strengths of a request: what was asked for, in 1/255, or those of the model's family.

    `NONE` asks for no attack at all.

    Raises:
        InvalidInput: a part is not a number, or there is no such attack.
    """
    if text is not None:
        return () if text.strip() == NONE else parse_epsilons(text)
    return in_pixels(strengths(model_id, attack).doubling(), attack)


def parse_epsilons(text: str) -> tuple[float, ...]:
    """Read comma-separated strengths in 1/255, as people write them, into pixel units.

    Raises:
        InvalidInput: a part is not a number.
    """
    try:
        return tuple(float(part) / 255 for part in text.split(","))
    except ValueError:
        raise InvalidInput(
            f"epsilons must be comma-separated numbers in 1/255, for example 1,2,4,8, or {NONE}; "
            f"got {shown(text)}"
        ) from None


def class_index(text: str | None, classes: Sequence[str]) -> int | None:
    """The index that a class's name or index stands for; its range is checked with the request.

    Raises:
        UnknownName: it is neither.
    """
    if text is None or text in classes:
        return None if text is None else classes.index(text)
    try:
        return int(text)
    except ValueError:
        raise UnknownName(unknown("class", text, classes)) from None


def check_request(request: AnalysisRequest, manifests: Sequence[Manifest]) -> None:
    """Refuse what cannot be computed, before anything is.

    Raises:
        InvalidInput: with what was expected and what came.
    """
    choose("attack", request.attack, ATTACKS)
    choose("cam", request.cam, CAMS)
    families = sorted({manifest.family for manifest in manifests})
    if not 1 <= len(manifests) <= MAX_MODELS:
        raise InvalidInput(f"expected 1 to {MAX_MODELS} models; got {len(manifests)}")
    if len(set(request.models)) != len(request.models):
        raise InvalidInput(f"expected different models; got {', '.join(request.models)}")
    if len(families) > 1:
        raise InvalidInput(f"expected models of one family; got {', '.join(families)}")
    _check_epsilons(request)
    if not 1 <= request.steps <= MAX_STEPS:
        raise InvalidInput(f"steps must lie in [1, {MAX_STEPS}]; got {request.steps}")
    count = len(manifests[0].classes)
    for name in ("target_class", "attack_target"):
        value = getattr(request, name)
        if value is not None and not 0 <= value < count:
            raise InvalidInput(f"{name} must lie in [0, {count}); got {value}")
    if request.attack_target is not None and not ATTACKS[request.attack].aims:
        able = ", ".join(name for name, attack in ATTACKS.items() if attack.aims)
        raise InvalidInput(
            f"expected an attack that can aim at a class ({able}), or no target; got "
            f"{request.attack} towards {manifests[0].classes[request.attack_target]}"
        )


def check_input(x: Tensor, manifest: Manifest) -> None:
    """Refuse what is no input x (1, C, H, W) in [0, 1] of a model.

    Raises:
        InvalidInput: with what was expected and what came.
    """
    shape = (1, manifest.channels, manifest.input_size, manifest.input_size)
    if not isinstance(x, Tensor) or x.shape != shape or x.dtype != torch.float32:
        raise InvalidInput(f"expected x of {shape}, float32; got {_describe(x)}")
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise InvalidInput("expected x in [0, 1]; got values outside")


def _describe(x: object) -> str:
    """What came in the place of an input."""
    return f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, Tensor) else type(x).__name__


def _check_epsilons(request: AnalysisRequest) -> None:
    cap = MAX_EPSILON[ATTACKS[request.attack].norm]
    if len(request.epsilons) > MAX_EPSILONS:
        raise InvalidInput(f"expected at most {MAX_EPSILONS} epsilons; got {len(request.epsilons)}")
    bad = [e for e in request.epsilons if not (np.isfinite(e) and 0 <= e <= cap)]
    if bad:
        raise InvalidInput(
            f"epsilon must lie in [0, {cap * 255:g}]/255 for {request.attack}; "
            f"got {', '.join(f'{e * 255:g}/255' for e in bad)}"
        )
