"""The registry of activation maps; their formulas are in `formulas`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Cam:
    """A kind of activation map and what menus and limits have to know of it.

    `formula` is a `BaseCAM` of the grad-cam library, or the name of one in `cams.formulas`, which
    takes 4 s to import: the library brings matplotlib, pandas and scikit-learn. `cost` is in
    forward passes for each picture, measured by `scripts/measure_costs.py`; None is one for each
    channel of the layer.
    """

    formula: str | type[Any]
    cost: float | None
    meaning: str  # formula and source; every map is then cut at 0

    @property
    def make(self) -> type[Any]:
        """The class; called as `make(model, [])`."""
        if not isinstance(self.formula, str):
            return self.formula
        from nls_core.cams import formulas  # noqa: PLC0415 - training, for one, makes no map

        made: type[Any] = getattr(formulas, self.formula)
        return made

    def passes(self, channels: int) -> float:
        """Forward passes for one picture at a layer of so many channels."""
        return channels if self.cost is None else self.cost


CAMS: dict[str, Cam] = {
    "gradcam": Cam("GradCAM", 4, "Σ_c mean(g_c) A_c; Selvaraju et al. 2016, arXiv 1610.02391"),
    "gradcam++": Cam(
        "PositiveGradCAMPlusPlus",
        4,
        "Σ_c w_c A_c, w from g² and g³; Chattopadhay et al. 2017, arXiv 1710.11063",
    ),
    "hirescam": Cam("HiResCAM", 4, "Σ_c g_c A_c; Draelos & Carin 2020, arXiv 2011.08891"),
    "layercam": Cam("LayerCAM", 4, "Σ_c relu(g_c) A_c; Jiang et al. 2021, IEEE TIP 30"),
    "eigencam": Cam(
        "SignedEigenCAM",
        10,
        "first component of A, of no class; Muhammad & Yeasin 2020, arXiv 2008.00299",
    ),
    "scorecam": Cam(
        "BatchedScoreCAM",
        None,
        "Σ_c softmax(scores)_c A_c; Wang et al. 2019, arXiv 1910.01279",
    ),
}


def quick() -> tuple[str, ...]:
    """The methods whose cost does not grow with the layer: those for hundreds of pictures."""
    return tuple(name for name, cam in CAMS.items() if cam.cost is not None)
