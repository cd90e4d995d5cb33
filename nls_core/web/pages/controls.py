"""What the controls of Compare say: the ε slider, and the requests that their values stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nls_core.analysis import requests
from nls_core.analysis.library import Library
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.errors import choose

AUTOMATIC = "its own prediction"
AWAY = "away from its answer"  # where an attack leads that has no target
LARGE = 100  # pixels; above, many steps at many strengths take seconds
Values = Mapping[str, Any]  # the controls' values by name


def epsilon_slider(model_id: str, attack: str, value: float | None = None) -> dict[str, Any]:
    """The range, label and value of the ε slider for an attack on a model's family.

    On small pictures all its strengths are computed at once, so that moving it computes nothing.
    """
    found = requests.strengths(model_id, attack)
    unit = "in 1/255 (L∞)" if ATTACKS[attack].norm == "linf" else "(L2 norm)"
    return {
        "minimum": 0,
        "maximum": found.top,
        "step": found.step,
        "value": min(found.top / 4 if value is None else value, found.top),
        "label": f"ε {unit}",
    }


class Controls:
    """Requests from values; `library` knows the models."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def everything(self, values: Values) -> AnalysisRequest:
        """What the controls say, at every place of the slider."""
        offered = requests.strengths(values["baseline"], values["attack"]).slider()
        return self.request(values, requests.in_pixels(offered, values["attack"]), flips=True)

    def usual(self, values: Values) -> tuple[float, ...]:
        """The strengths of a comparison, in pixel units: on a large picture each costs 0.3 s."""
        offered = requests.strengths(values["baseline"], values["attack"])
        chosen = offered.slider()
        if self.is_large(values["baseline"]):  # flip points double beyond the slider's end
            chosen = tuple(each for each in offered.doubling() if each <= offered.top)
        return requests.in_pixels(chosen, values["attack"])

    def shown(self, values: Values) -> float | None:
        """The strength at which the slider stands, in pixel units; None is 0."""
        offered = requests.strengths(values["baseline"], values["attack"])
        place = round(min(values["epsilon"], offered.top) / offered.step)
        return requests.in_pixels([place * offered.step], values["attack"])[0] if place else None

    def request(
        self, values: Values, epsilons: tuple[float, ...] = (), *, flips: bool = False
    ) -> AnalysisRequest:
        """What the controls say, at some strengths."""
        chosen = dict.fromkeys((values["baseline"], values["candidate"], *values["more"]))
        classes = self.library.manifest(values["baseline"]).classes
        places: dict[str, int | None] = {name: index for index, name in enumerate(classes)}
        return AnalysisRequest(
            models=tuple(chosen),
            cam=values["cam"],
            layer=values["layer"],
            attack=values["attack"],
            epsilons=epsilons,
            attack_target=choose("class", values["towards"], {AWAY: None} | places),
            target_class=choose("class", values["target"], {AUTOMATIC: None} | places),
            steps=int(values["steps"]),
            seed=int(values["seed"] or 0),
            flip_point=flips,
        )

    def is_large(self, model_id: str) -> bool:
        """Whether a model takes pictures on which an attack takes long."""
        return self.library.manifest(model_id).input_size > LARGE
