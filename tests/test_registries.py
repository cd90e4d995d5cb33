"""A new attack, map or loss is one entry: menus, limits, REST and charts take it as it is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient
from torch import Tensor, nn

from nls_core.analysis import cost, loss_curves
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS, Attack
from nls_core.cams import CAMS, Cam
from nls_core.errors import InvalidInput
from nls_core.families.recipe import Recipe
from nls_core.losses import LOSSES, accepts
from nls_core.settings import Settings
from nls_core.views import evidence_charts, loss_charts, palette
from nls_core.web.pages import menus
from nls_core.web.pages.compare import ComparePage
from nls_core.web.pages.compare_work import Compare
from nls_core.web.rest.api import create_api
from tests.conftest import TINY, picture_bytes


def shifted(
    model: nn.Module, x: Tensor, y: Tensor, *, epsilon: float | Tensor, **shared: Any
) -> Tensor:
    """Brighter by ε, whatever the model is."""
    return (x + torch.as_tensor(epsilon).reshape(-1, 1, 1, 1)).clamp(0, 1)


def weighted(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.1,
    gamma: float = 2.0,
    weight: float = 0.5,
    reduction: str = "mean",
) -> Tensor:
    """Label smoothing times a weight, with a γ of its own."""
    return weight * LOSSES["ls"](
        logits, target, smoothing=smoothing, gamma=gamma, reduction=reduction
    )


@pytest.fixture(autouse=True)
def _entries(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = Attack(shifted, "l2", False, 50, "Brighter.", weak=True)
    monkeypatch.setitem(ATTACKS, "dummy-attack", attack)
    monkeypatch.setitem(CAMS, "dummy-cam", Cam(CAMS["hirescam"].formula, 7, "as hirescam"))
    monkeypatch.setitem(LOSSES, "dummy-loss", LOSSES["ls"])
    monkeypatch.setitem(LOSSES, "dummy-weighted", weighted)


def test_the_page_offers_and_shows_them(analyzer: Analyzer) -> None:
    async def build() -> ComparePage:  # in a loop, else Gradio makes one and leaves it open
        return ComparePage(Compare(analyzer))

    page = asyncio.run(build())
    assert ("dummy-attack (weak)", "dummy-attack") in page.inputs["attack"].choices
    assert ("dummy-cam", "dummy-cam") in page.inputs["cam"].choices
    values = page.start | {"attack": "dummy-attack", "cam": "dummy-cam"}
    assert "dummy-attack" in menus.about("dummy-attack")
    shown = page.work.show(page.work.analyze(values), values)
    assert "Under dummy-attack" in shown[0]
    slow, quick = (
        analyzer.expected(page.work.controls.everything(values | {"attack": name})) or 0
        for name in ("dummy-attack", "gaussian")
    )
    assert slow > quick > 0  # its cost is told before it is computed
    assert "hold" not in shown[0]
    assert json.loads(shown[1])["layout"]["xaxis"]["title"]["text"] == "ε (L2 norm)"


def test_rest_names_and_computes_them(models_dir: Path) -> None:
    app = create_api(Settings(models_dir=models_dir, device="cpu"))
    with TestClient(app) as client:
        text = client.get("/openapi.json").text
        form = {"models": ",".join(TINY), "attack": "dummy-attack", "cam": "dummy-cam"}
        answer = client.post(
            "/api/v1/analyze", data=form, files={"image": ("a.png", picture_bytes())}
        )
    assert '"dummy-attack"' in text
    assert '"dummy-cam"' in text
    assert answer.status_code == 200, answer.text
    assert answer.json()["models"][0]["cam"]["method"] == "dummy-cam"


def test_they_cost_what_their_records_say() -> None:
    request = AnalysisRequest(
        models=("a",), attack="dummy-attack", cam="dummy-cam", epsilons=(0.1, 0.2), steps=3
    )
    passes = 4 + 2 * (1 + 50 * 3) + 3 * 7
    assert cost.estimate(request, {"a": cost.Speed(1.0, 9)}) == passes


def test_a_loss_gets_a_colour_and_a_curve_of_its_own() -> None:
    named = set(palette.LOSS_COLOURS.values()) | {palette.MARK_COLOUR}
    made = [palette.loss_colour(f"loss-{n}") for n in range(20)]
    assert len({*made, *named}) == 20 + len(named)
    assert palette.loss_colour("dummy-loss") == palette.loss_colour("dummy-loss")
    figure = loss_charts.loss_chart(loss_curves.curves(loss_curves.Choice()))
    colours = {trace.name: trace.line.color for trace in figure.data}
    assert colours["dummy-loss"] == palette.loss_colour("dummy-loss")
    assert len(set(colours.values())) == len(colours)


def test_a_loss_gets_the_options_that_it_has() -> None:
    z, y = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    for gamma, used in ((0.0, 2.0), (1.0, 1.0)):  # without one chosen, its own
        choice = loss_curves.Choice(3, smoothing=0.2, gamma=gamma, weight=0.1)
        got = loss_curves.evaluate("dummy-weighted", z, y, choice)[0]
        wanted = 0.1 * LOSSES["ls"](z, y, smoothing=0.2, gamma=used)
        torch.testing.assert_close(got[0], wanted)
    assert accepts("dummy-weighted", "weight")
    assert not accepts("dummy-loss", "weight")
    Recipe(loss="dummy-weighted", weight=0.1).check()
    with pytest.raises(InvalidInput, match=r"with one of \[.*'dummy-weighted'\] only; got ls"):
        Recipe(loss="ls", weight=0.1).check()


def test_a_chart_drops_no_attack_however_many_there_are() -> None:
    names = [f"attack {n}" for n in range(9)]
    entry = {"1": {"mean": 0.5, "sd": None}}
    cells: dict[str, Any] = {"ce-zero": {"metrics": {}, "robust": dict.fromkeys(names, entry)}}
    lines = evidence_charts.attacks_of(cells, "ce-zero").data
    assert [line.name for line in lines] == names
    assert len({line.line.color for line in lines}) == len(names)
