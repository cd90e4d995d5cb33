"""The endpoint `/analyze` of the page, for scripts: what REST's POST /analyze takes and answers."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from nls_core.analysis import requests
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.web.pages.compare_work import read_upload
from nls_core.web.pages.widgets import LANE
from nls_core.web.rest import schemas


def analyze(  # noqa: PLR0917 - Gradio passes by place what scripts give by these names
    analyzer: Analyzer,
    image: str,
    models: str,
    cam: str,
    attack: str,
    epsilons: str,
    target_class: str,
    layer: str,
    steps: int,
    seed: int,
    flip_point: bool,
    attack_target: str = "",
) -> dict[str, Any]:
    """Compare models on one picture.

    Args:
        analyzer: does it.
        image: a picture: JPEG, PNG, WebP, GIF or BMP.
        models: comma-separated ids, all of one family.
        cam: activation map.
        attack: attack.
        epsilons: comma-separated strengths in 1/255; empty: those of the family.
        target_class: name or index of the class that maps explain; empty: each prediction.
        layer: target layer of the maps; empty: the last.
        steps: of the attack.
        seed: of every random draw.
        flip_point: whether to find the smallest ε at which PGD changes each label.
        attack_target: name or index of the class to reach; empty: to leave each prediction.
    """
    ids = tuple(part.strip() for part in models.split(","))
    classes = analyzer.manifest(ids[0]).classes
    request = AnalysisRequest(
        models=ids,
        cam=cam,
        layer=layer or None,
        attack=attack,
        epsilons=requests.epsilons(epsilons or None, ids[0], attack),
        target_class=requests.class_index(target_class or None, classes),
        steps=int(steps),
        seed=int(seed),
        flip_point=flip_point,
        attack_target=requests.class_index(attack_target or None, classes),
    )
    analysis = analyzer.analyze(read_upload(image), request)
    return schemas.analysis_response(analysis).model_dump(mode="json")


def endpoint(analyzer: Analyzer, image: gr.Image, models: str) -> None:
    """Make it, within the page's Blocks; `models` are those that are compared by default."""
    default = AnalysisRequest(())
    fields: list[Any] = [
        gr.Textbox(text, visible=False) for text in (models, default.cam, default.attack)
    ]
    fields += [gr.Textbox("", visible=False, label="empty: the default") for _ in range(3)]
    fields += [gr.Number(n, precision=0, visible=False) for n in (default.steps, default.seed)]
    fields.append(gr.Checkbox(value=default.flip_point, visible=False))
    fields.append(gr.Textbox("", visible=False, label="empty: the default"))
    gr.Button(visible=False).click(
        partial(analyze, analyzer),
        [image, *fields],
        gr.JSON(visible=False),
        api_name="analyze",
        **LANE,
    )
