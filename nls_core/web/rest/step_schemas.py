"""What REST answers of an attack's steps."""

from __future__ import annotations

from pydantic import Field

from nls_core.analysis.results import Analysis, ModelAnalysis, SweepPoint
from nls_core.web.rest.model_schemas import Frozen


class StepsResponse(Frozen):
    """Probabilities along the attack: at its start, within ε, and after each of its steps."""

    left: list[float] = Field(description="of the clean label")
    reached: list[float] = Field(description="of `reached_label`")
    reached_label: str = Field(
        description="the class that the attack is to reach; without a target, the one it ends at"
    )


def steps_response(
    point: SweepPoint, model: ModelAnalysis, analysis: Analysis
) -> StepsResponse | None:
    """What is told of a strength's steps; None where the attack tells none."""
    if point.steps is None:
        return None
    left, reached = analysis.course(model, point)
    return StepsResponse(
        left=point.steps[:, left].tolist(),
        reached=point.steps[:, reached].tolist(),
        reached_label=model.manifest.classes[reached],
    )
