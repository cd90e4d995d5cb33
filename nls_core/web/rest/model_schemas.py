"""What REST answers about the models and itself: pydantic models made from manifests."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nls_core.types import Manifest


class Frozen(BaseModel):
    """Base of the answers: frozen, and no fields beyond the documented ones."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", serialize_by_alias=True, validate_by_name=True
    )


class Health(Frozen):
    """The process answers."""

    status: str = Field(description="always 'alive'")


class Readiness(Frozen):
    """Models are served: all, or (degraded) those that can be used."""

    status: str = Field(description="'ready' or 'degraded'; without any model it is a problem")
    models: dict[str, str] = Field(description="model id -> 'ready', or why it cannot be used")


class ModelSummary(Frozen):
    """One line of the list of models."""

    id: str = Field(description="<family>/<loss>-<padding>")
    family: str = Field(description="models of one family know the same classes")
    arch: str = Field(description="name of the architecture")
    loss: str = Field(description="name of the training loss")
    padding: str = Field(description="'zero' or 'partial'")
    classes: list[str] = Field(description="class names, by index")
    input_size: int = Field(description="edge of the square input, pixels")
    temperature: float = Field(description="fitted on the validation split")
    metrics: dict[str, Any] = Field(description="measured on the test split; shares in [0, 1]")


class ModelDetail(Frozen):
    """The manifest of a model, and the layers that maps can be taken at."""

    id: str = Field(description="<family>/<loss>-<padding>")
    arch: str = Field(description="name of the architecture")
    padding: str = Field(description="'zero' or 'partial'")
    loss: str = Field(description="name of the training loss")
    loss_parameters: dict[str, float] = Field(description="its options, such as the smoothing")
    classes: list[str] = Field(description="class names, by index")
    channels: int = Field(description="1 grey, 3 RGB")
    input_size: int = Field(description="edge of the square input, pixels")
    mean: list[float] = Field(description="subtracted inside the model, per channel")
    std: list[float] = Field(description="divided by inside the model, per channel")
    preprocess: str = Field(description="name of the conversion of a picture to the input")
    temperature: float = Field(description="fitted on the validation split")
    sha256: str = Field(description="of model.safetensors")
    seed: int = Field(description="of the training")
    recipe: dict[str, Any] = Field(description="how it was trained")
    metrics: dict[str, Any] = Field(description="measured on the test split; shares in [0, 1]")
    reliability: dict[str, Any] = Field(
        description="reliability diagrams over 15 equal-width, right-closed bins"
    )
    command: str = Field(description="what made the metrics")
    created_with: dict[str, str] = Field(description="package -> version")
    ood: dict[str, Any] = Field(
        description="score and threshold below which a picture may be of no class; empty: none"
    )
    limits: dict[str, float] = Field(
        description="for prediction sets and abstention, from test pictures: 'miss', 'inside' "
        "(largest THR score in a set) and 'abstain_below'; or empty"
    )
    schema_: int = Field(alias="schema", description="version of the manifest's format")
    layers: list[str] = Field(description="target layers in forward order; the last is the default")


def model_summary(manifest: Manifest) -> ModelSummary:
    """The line of a model in the list."""
    values = {name: getattr(manifest, name) for name in ModelSummary.model_fields}
    return ModelSummary.model_validate(values)


def model_detail(manifest: Manifest, layers: tuple[str, ...]) -> ModelDetail:
    """The whole manifest of a model, with its target layers."""
    return ModelDetail.model_validate(asdict(manifest) | {"layers": layers})
