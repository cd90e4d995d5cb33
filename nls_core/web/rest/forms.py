"""The form of `POST /analyze` and the parts of a path, as types with their documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import File, Form, Path, UploadFile
from pydantic import BeforeValidator

from nls_core.analysis.requests import MAX_STEPS
from nls_core.attacks import ATTACKS
from nls_core.cams import CAMS

MAX_SEED = 2**53 - 1  # what JSON numbers hold exactly
MODELS_EXAMPLE = (
    "family/ce-zero,family/nls-zero"  # `documented` puts models that are served in its place
)

Family = Annotated[str, Path(description="The part of the model's id before the stroke.")]
Name = Annotated[str, Path(description="The part of the model's id behind the stroke.")]
Image = Annotated[UploadFile, File(description="A JPEG, PNG, WebP, GIF or BMP file.")]


def _names_of(registry: Mapping[str, object]) -> Any:
    """The names of a registry as OpenAPI's `enum`, read when the text is made."""
    return lambda schema: schema.update(enum=[*registry])


def _none_if_empty(value: object) -> object:
    """Forms cannot say nothing: many clients send '' or 'null' for what they leave out."""
    return None if value in ("", "null") else value


Mask = Annotated[
    UploadFile | None,
    BeforeValidator(_none_if_empty),
    File(
        description="A PNG file of the image's size that marks the object, for `focus` in the "
        "answer: where some of it is transparent, the object is what is not; else what is not "
        "black."
    ),
]
Models = Annotated[
    str,
    Form(
        description="Comma-separated ids, all of one family.",
        max_length=1000,
        examples=[MODELS_EXAMPLE],
    ),
]
Cam = Annotated[
    str,
    Form(
        description="How the class activation maps are made.",
        examples=["gradcam"],
        json_schema_extra=_names_of(CAMS),
    ),
]
Attack = Annotated[
    str,
    Form(
        description="What changes the picture; 'pgd-linf' is meant for most questions.",
        examples=["pgd-linf"],
        json_schema_extra=_names_of(ATTACKS),
    ),
]
Epsilons = Annotated[
    str | None,
    Form(
        description="Comma-separated strengths in 1/255; for pgd-l2, 255 is an L2 norm of 1. "
        "'none': the models are not attacked. By default those that fit the models' family.",
        max_length=1000,
        examples=["0.25,0.5,1,2,4"],
    ),
]
TargetClass = Annotated[
    str | None,
    Form(
        description="Index or name of the class that the maps explain; by default each model's "
        "own prediction.",
        max_length=200,
        examples=["Sneaker"],
    ),
]
AttackTarget = Annotated[
    str | None,
    Form(
        description="Index or name of the class that the attack is to reach; by default it is "
        "to leave the prediction. Controls (gaussian, salt-pepper) cannot aim.",
        max_length=200,
    ),
]
Layer = Annotated[
    str | None,
    Form(
        description="Target layer of the maps, one of the model's `layers`; by default the last.",
        max_length=200,
    ),
]
Steps = Annotated[int, Form(description="Steps of the attack.", examples=[10], ge=1, le=MAX_STEPS)]
FlipPoint = Annotated[
    bool,
    Form(
        description="Whether to find each model's flip point: the smallest strength, to 1/16 of "
        "1/255, at which PGD is found to change its label.",
        examples=[True],
    ),
]
Seed = Annotated[int, Form(description="Fixes every random draw.", examples=[0], ge=0, le=MAX_SEED)]
