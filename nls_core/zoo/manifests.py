"""`config.json` <-> `Manifest`: nothing that would fail, or mislead, only when the model runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from nls_core import files
from nls_core.errors import CheckpointError, brief, unknown
from nls_core.images import PREPROCESS
from nls_core.listing import CONFIG, ID
from nls_core.losses import LOSSES
from nls_core.metrics import conformal, unfamiliar
from nls_core.metrics.calibration import Reliability
from nls_core.nets import NAMES, PADDINGS, is_known
from nls_core.types import Manifest

MAX_BYTES = 1_000_000  # a manifest of 10 classes has 7,000
SIZES = (8, 1024)  # of an input's edge in pixels
MAX_CLASSES = 10_000
T = TypeVar("T", bound=Mapping[str, Any])


def _known(kind: str, names: Collection[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(unknown(kind, name[:40], names))
        return name

    return AfterValidator(check)


def _architecture(name: str) -> str:
    if not is_known(name):
        raise ValueError(unknown("architecture", name[:40], NAMES))
    return name


def _one_of(*numbers: int) -> AfterValidator:  # Literal would let 1.0 and true pass
    def check(number: int) -> int:
        if number not in numbers:
            raise ValueError(f"expected one of {numbers}; got {number}")
        return number

    return AfterValidator(check)


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("expected every class once")  # answers are given by name
    return names


def _as_checked_by(check: Callable[[T], object]) -> AfterValidator:
    def run(entry: T) -> T:
        check(entry)
        return entry

    return AfterValidator(run)


def _check_diagrams(diagrams: Mapping[str, Any]) -> None:
    """Either nothing was measured, or the pages find the diagram that they draw."""
    if diagrams and "plain" not in diagrams:
        raise ValueError("expected an entry 'plain', or none at all")
    for name, data in diagrams.items():
        if not isinstance(data, dict):
            raise ValueError(f"expected a diagram under {name[:20]!r}; got {type(data).__name__}")
        bins = Reliability.from_dict(data)
        shares = (bins.edges, bins.accuracy, bins.confidence, bins.low, bins.high)
        # NaN stands for an empty bin, and is neither below 0 nor above 1
        if (bins.counts < 0).any() or any(((s < 0) | (s > 1)).any() for s in shares):
            raise ValueError(f"expected counts and shares in [0, 1] under {name[:20]!r}")


def _check_recipe(recipe: Mapping[str, Any]) -> None:
    if not isinstance(recipe.get("dataset", ""), str):
        raise ValueError("expected a name under 'dataset'")


Name = Annotated[str, Field(min_length=1, max_length=200)]
Channel = Annotated[float, Field(ge=-1e3, le=1e3)]
Deviation = Annotated[float, Field(gt=0, le=1e3)]
Number = int | float | None


class Entries(BaseModel):
    """What a manifest must hold; entries of a later version are passed over."""

    # strict: neither "28" nor 28.5 nor true is a size
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    id: Annotated[str, Field(pattern=f"^{ID}$")]
    arch: Annotated[str, AfterValidator(_architecture)]
    padding: Annotated[str, _known("padding", PADDINGS)]
    loss: Annotated[str, _known("loss", LOSSES)]
    loss_parameters: dict[str, float]
    classes: Annotated[
        tuple[Name, ...], Field(min_length=2, max_length=MAX_CLASSES), AfterValidator(_unique)
    ]
    channels: Annotated[int, _one_of(1, 3)]
    input_size: Annotated[int, Field(ge=SIZES[0], le=SIZES[1])]
    mean: tuple[Channel, ...]
    std: tuple[Deviation, ...]
    preprocess: Annotated[str, _known("preprocessing", PREPROCESS)]
    temperature: Annotated[float, Field(ge=1e-3, le=1e3)]  # the fit stays in [0.01, 100]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    seed: int
    recipe: Annotated[dict[str, Any], _as_checked_by(_check_recipe)]
    metrics: dict[str, Number] = {}
    reliability: Annotated[dict[str, Any], _as_checked_by(_check_diagrams)] = {}
    command: str = ""
    created_with: dict[str, str] = {}
    ood: Annotated[dict[str, Any], _as_checked_by(unfamiliar.check)] = {}
    limits: Annotated[dict[str, Any], _as_checked_by(conformal.check)] = {}
    # a field named `schema` would hide a method of BaseModel
    schema_: Annotated[int, _one_of(1)] = Field(1, alias="schema")


def parse(data: bytes) -> Manifest:
    """A manifest from the bytes of its file.

    Raises:
        ValueError: it is no JSON, or an entry is missing or not as `Entries` says; one line.
    """
    files.parse_json(data)  # what pydantic's own reader lets pass: a key twice, endless numbers
    try:
        entries = Entries.model_validate_json(data)
    except ValidationError as error:
        complaints = [_complaint(each) for each in error.errors(include_url=False)[:3]]
        raise ValueError("; ".join(complaints)) from None
    if not len(entries.mean) == len(entries.std) == entries.channels:
        raise ValueError(f"expected a mean and a std for each of {entries.channels} channels")
    return Manifest(**entries.model_dump(by_alias=True))


def _complaint(error: ErrorDetails) -> str:
    """One complaint of pydantic's: where, what was expected, and what came if it is short."""
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "value_error":  # ours, which say what came
        return brief(f"{where}: {error['msg'].removeprefix('Value error, ')}")
    got = error["input"]
    short = isinstance(got, str | int | float) and len(repr(got)) < 40
    return brief(f"{where}: {error['msg']}, got {got!r}" if short else f"{where}: {error['msg']}")


def read(model_id: str, path: Path) -> Manifest:
    """The manifest of a model, from its file.

    Raises:
        CheckpointError: it is missing or damaged, or of another model; one line.
    """
    try:
        manifest = parse(files.read_bytes(path, MAX_BYTES))
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(
            f"the manifest of {model_id} is damaged: {brief(error)}; restore {CONFIG}"
        ) from error
    if manifest.id != model_id:
        raise CheckpointError(f"the manifest of {model_id} names another model: {manifest.id}")
    return manifest
