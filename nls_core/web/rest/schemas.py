"""What REST answers, and the command line with --json: pydantic models made from `Analysis`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import Field

from nls_core.analysis import focus
from nls_core.analysis.results import (
    Analysis,
    AnalysisRequest,
    CamMap,
    FlipPoint,
    ModelAnalysis,
    Prediction,
    SweepPoint,
)
from nls_core.metrics import conformal, unfamiliar
from nls_core.types import FloatArray, Manifest
from nls_core.views import raster
from nls_core.web.rest.model_schemas import Frozen
from nls_core.web.rest.step_schemas import StepsResponse, steps_response

SCHEMA = 1  # raised when a field changes its meaning or goes


class FamiliarityResponse(Frozen):
    """Whether the input may be of none of the model's classes (out of distribution)."""

    score: str = Field(
        description="'msp' (largest probability), 'energy', 'max_logit', 'gen' or 'plain'"
    )
    value: float = Field(description="of this input; higher is more familiar")
    threshold: float = Field(description="of the manifest")
    rate: float = Field(description="share of held-out pictures of its classes below the threshold")
    unfamiliar: bool = Field(description="the value is below the threshold: perhaps of no class")


class UseResponse(Frozen):
    """What may be done with the answer (split-conformal prediction, selective prediction)."""

    prediction_set: list[str] = Field(
        description="classes that cannot be ruled out, the likeliest first; such sets miss the "
        "true class of `miss` of the test pictures"
    )
    abstain: bool = Field(description="the confidence is below `enough`")
    enough: float = Field(
        description="of answers with this confidence or more, at most `miss` are wrong; above 1: "
        "there is no such confidence"
    )
    miss: float = Field(description="a share in (0, 1)")


class PredictionResponse(Frozen):
    """One model's answer for one input."""

    label: str = Field(description="name of the most probable class")
    index: int = Field(description="its index")
    probabilities: dict[str, float] = Field(description="class name -> softmax probability")
    confidence: float = Field(description="the largest probability")
    calibrated_confidence: float = Field(description="the largest one after temperature scaling")
    calibrated_probabilities: dict[str, float] = Field(description="after temperature scaling")
    temperature: float = Field(description="the logits are divided by it")
    familiarity: FamiliarityResponse | None = Field(
        description="whether the input may be of none of the classes; null: the manifest has no "
        "threshold"
    )
    use: UseResponse | None = Field(
        description="prediction set and abstention; null: the manifest has no limits"
    )


class CamResponse(Frozen):
    """A class activation map at the target layer's own resolution."""

    method: str = Field(description="how the map was made")
    layer: str = Field(description="the layer that it was taken at")
    target_class: int = Field(description="index of the class that the map explains")
    target_label: str = Field(description="its name")
    values: list[list[float]] = Field(description="rows of the map, ≥ 0, in the method's own units")
    png: str = Field(
        description="data URI of the map at its own resolution, one pixel per value: Inferno from "
        "0 to the largest value of all maps of this answer, so that its maps are comparable"
    )


class SweepPointResponse(Frozen):
    """What one attack strength did to one model."""

    epsilon: float = Field(description="in pixel units of [0, 1]")
    epsilon_255: float = Field(description="the same in 1/255")
    prediction: PredictionResponse = Field(description="for the adversarial image")
    cam: CamResponse = Field(description="on the adversarial image, same target class and layer")
    linf: float = Field(description="largest change of a pixel, in pixel units")
    l2: float = Field(description="L2 norm of the perturbation over all pixels")
    success: bool = Field(description="the clean label is lost, or the target reached")
    adversarial_png: str = Field(
        description="data URI of the attacked model input, rounded to 8 bits"
    )
    steps: StepsResponse | None = Field(
        description="null: the attack has no steps to tell; pgd-linf and pgd-l2 have"
    )


class FocusResponse(Frozen):
    """How much of the maps lies on the object that the mask marks; each a share in [0, 1]."""

    area: float = Field(
        description="the object's share of what the model sees: what a map without focus gets"
    )
    clean: float = Field(description="share of the clean map that lies on the object")
    attacked: list[float] = Field(description="the same of the attacked maps, one per ε")


class FlipPointResponse(Frozen):
    """The smallest strength found at which PGD (10 steps, random start) changes the label.

    PGD does not change it at 1/16 of 1/255 less; strengths in between the tried ones, or stronger
    attacks, may.
    """

    epsilon_255: float | None = Field(description="in 1/255; null: none was found")
    label: str | None = Field(description="what the model then says")
    most_255: float = Field(description="the largest strength that is tried, in 1/255")


class ModelAnalysisResponse(Frozen):
    """Everything that one model says of the picture."""

    id: str = Field(description="<family>/<loss>-<padding>")
    prediction: PredictionResponse = Field(description="for the clean input")
    cam: CamResponse = Field(description="on the clean input")
    sweep: list[SweepPointResponse] = Field(description="one per ε, in the order asked for")
    flip_epsilon_255: float | None = Field(
        description="the smallest tried ε, in 1/255, at which the attack succeeded; null: none"
    )
    flip_point: FlipPointResponse | None = Field(description="null: it was not asked for")
    focus: FocusResponse | None = Field(description="null: no mask was given")


class RequestEcho(Frozen):
    """What was computed, defaults included."""

    models: list[str] = Field(description="their ids")
    cam: str = Field(description="how the maps were made")
    layer: str | None = Field(description="null: each model's last stage")
    attack: str = Field(description="its name")
    epsilons: list[float] = Field(description="in pixel units of [0, 1]")
    epsilons_255: list[float] = Field(description="the same in 1/255")
    target_class: int | None = Field(description="null: each model's clean prediction")
    attack_target: int | None = Field(description="null: the attack is untargeted")
    steps: int = Field(description="of the attack")
    seed: int = Field(description="of every random draw")
    flip_point: bool = Field(description="whether each model's flip point was asked for")
    random_start: bool = Field(description="gradient attacks began at a random place within ε")


class GeometryResponse(Frozen):
    """Where the model's square input lies in the picture."""

    width: int = Field(description="of the picture after EXIF rotation, pixels")
    height: int = Field(description="the same")
    box: tuple[float, float, float, float] = Field(
        description="left, top, right, bottom of the input in the picture's pixels; it may reach "
        "outside where the conversion padded"
    )


class AnalysisResponse(Frozen):
    """Models compared on one picture."""

    schema_: int = Field(SCHEMA, alias="schema", description="version of this format")
    request: RequestEcho = Field(description="what was computed, defaults included")
    geometry: GeometryResponse = Field(description="what of the picture the models saw")
    notes: list[str] = Field(description="what was done to the picture, in sentences")
    seconds: float = Field(description="from the picture's bytes to the last map, waiting included")
    models: list[ModelAnalysisResponse] = Field(description="in the order asked for")


def analysis_response(
    analysis: Analysis, focused: focus.FocusScores | None = None
) -> AnalysisResponse:
    """The answer for an analysis; numbers are float32 values, exactly."""
    top = _top(analysis)
    models = [_model(model, top, analysis) for model in analysis.models]
    if focused is not None:
        shares = [FocusResponse(area=focused.area, **asdict(each)) for each in focused.models]
        pairs = zip(models, shares, strict=True)
        models = [model.model_copy(update={"focus": share}) for model, share in pairs]
    return AnalysisResponse(
        request=_request(analysis.request),
        geometry=GeometryResponse(**asdict(analysis.geometry)),
        notes=list(analysis.notes),
        seconds=analysis.seconds,
        models=models,
    )


def _top(analysis: Analysis) -> float:
    """The largest value of all maps, clean and attacked."""
    maps = [m.cam for m in analysis.models] + [p.cam for m in analysis.models for p in m.sweep]
    return max(float(cam.values.max()) for cam in maps)


def _in_255(epsilon: float) -> float:
    return round(epsilon * 255, 9)  # ε came as a part of 255


def _request(request: AnalysisRequest) -> RequestEcho:
    echo = asdict(request) | {"epsilons_255": [_in_255(e) for e in request.epsilons]}
    return RequestEcho.model_validate(echo)


def _model(model: ModelAnalysis, top: float, analysis: Analysis) -> ModelAnalysisResponse:
    flip = model.flip_epsilon
    return ModelAnalysisResponse(
        id=model.manifest.id,
        prediction=_prediction(model.prediction, model.manifest, analysis.x),
        cam=_cam(model.cam, model.manifest, top),
        sweep=[_point(point, model, top, analysis) for point in model.sweep],
        flip_epsilon_255=None if flip is None else _in_255(flip),
        flip_point=model.flip_point and _flip_point(model.flip_point, model.manifest),
        focus=None,
    )


def _flip_point(found: FlipPoint, manifest: Manifest) -> FlipPointResponse:
    return FlipPointResponse(
        epsilon_255=None if found.epsilon is None else _in_255(found.epsilon),
        label=None if found.label is None else manifest.classes[found.label],
        most_255=_in_255(found.most),
    )


def _point(
    point: SweepPoint, model: ModelAnalysis, top: float, analysis: Analysis
) -> SweepPointResponse:
    return SweepPointResponse(
        epsilon=point.epsilon,
        epsilon_255=_in_255(point.epsilon),
        prediction=_prediction(point.prediction, model.manifest, analysis.x),
        cam=_cam(point.cam, model.manifest, top),
        linf=point.linf,
        l2=point.l2,
        success=point.success,
        adversarial_png=raster.png_data_uri(point.adversarial),
        steps=steps_response(point, model, analysis),
    )


def _prediction(prediction: Prediction, manifest: Manifest, x: FloatArray) -> PredictionResponse:
    """An answer; whether it is familiar is judged of the clean picture's x (C, H, W)."""

    def named(probabilities: Any) -> Mapping[str, float]:
        return dict(zip(manifest.classes, probabilities.tolist(), strict=True))

    return PredictionResponse(
        label=manifest.classes[prediction.index],
        index=prediction.index,
        probabilities=named(prediction.probabilities),
        confidence=prediction.confidence,
        calibrated_confidence=prediction.calibrated_confidence,
        calibrated_probabilities=named(prediction.calibrated),
        temperature=manifest.temperature,
        familiarity=_familiarity(manifest, prediction, x),
        use=_use(manifest, prediction),
    )


def _use(manifest: Manifest, prediction: Prediction) -> UseResponse | None:
    found = conformal.judge(manifest.limits, prediction.probabilities)
    if found is None:
        return None
    return UseResponse(
        prediction_set=[manifest.classes[k] for k in found.classes],
        abstain=found.withheld,
        enough=found.enough,
        miss=found.miss,
    )


def _familiarity(
    manifest: Manifest, prediction: Prediction, x: FloatArray
) -> FamiliarityResponse | None:
    verdict = unfamiliar.judge(manifest.ood, prediction.logits, x)
    if verdict is None:
        return None
    return FamiliarityResponse(unfamiliar=verdict.unfamiliar, **asdict(verdict))


def _cam(cam: CamMap, manifest: Manifest, top: float) -> CamResponse:
    return CamResponse(
        method=cam.method,
        layer=cam.layer,
        target_class=cam.target_class,
        target_label=manifest.classes[cam.target_class],
        values=cam.values.tolist(),
        png=raster.png_data_uri(raster.colour_map(cam.values, top)),
    )
