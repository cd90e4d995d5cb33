"""A family that the project does not know: two entries, and every command and page has it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from nls_core import zoo
from nls_core.cli import entry
from nls_core.settings import ROOT, Settings
from tests.conftest import picture_bytes
from tests.helpers import digits
from tests.helpers.evidence import hurry
from tests.helpers.site import at_start
from tests.helpers.whole import whole_app

IDS = tuple(f"{digits.NAME}/{cell}" for cell in ("ce-zero", "nls-zero"))
SHIPPED = ("fashion", "photos")


@dataclass(frozen=True)
class Home:
    """Where the family was trained, and what each command answered."""

    models: Path
    answers: dict[str, Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Trained, published, measured and concluded by the commands, beside the shipped families."""
    root = tmp_path_factory.mktemp("third")
    models, runs = root / "models", str(root / "runs")
    models.mkdir()
    for name in SHIPPED:
        (models / name).mkdir()
        for path in (ROOT / "models" / name).iterdir():
            if not path.name.endswith("-partial"):  # half of the models start in half the time
                (models / name / path.name).symlink_to(path)
    commands = {
        "train": ["train", "--grid", digits.NAME, "--runs", runs, "--jobs", "2", "--quiet"],
        "evaluate": ["evaluate", "--family", digits.NAME, "--runs", runs, "--json"],
        "findings": ["findings", digits.NAME, "--output", str(root / "findings.md")],
    }
    with pytest.MonkeyPatch.context() as patch:
        for registry, name, value in digits.ENTRIES:
            patch.setitem(registry, name, value)
        hurry(patch)
        at_start(patch, root / "site", digits.SITE)
        patch.setenv("NLS_MODELS_DIR", str(models))
        patch.setenv("NLS_DATA_DIR", str(root / "data"))
        patch.setenv("NLS_DEVICE", "cpu")
        run = CliRunner().invoke
        yield Home(models, {name: run(entry.app, words) for name, words in commands.items()})


@pytest.fixture(scope="module")
def client(home: Home) -> Iterator[TestClient]:
    """A client of the real app over the three families."""
    with whole_app(Settings(models_dir=home.models, device="cpu")) as client:
        yield client


# ---------------------------------------------------------------- the commands


def test_it_is_trained_and_published_by_one_command(home: Home) -> None:
    answer = home.answers["train"]
    assert answer.exit_code == 0, answer.output
    assert [line.split(":")[0] for line in answer.output.splitlines() if "/" in line] == list(IDS)
    assert zoo.available(home.models, digits.NAME) == IDS
    _, manifest = zoo.load(IDS[1], home.models)
    assert manifest.classes == digits.CLASSES
    assert manifest.recipe["epochs"] == 2
    assert manifest.recipe["training_command"] == f"nls train --grid {digits.NAME}"
    assert manifest.metrics["images"] == 60


def test_it_is_measured_and_reported(home: Home) -> None:
    answer = home.answers["evaluate"]
    assert answer.exit_code == 0, answer.output
    record = json.loads((home.models / digits.NAME / "report.json").read_text(encoding="utf-8"))
    assert {"ce-zero", "nls-zero"} <= set(record["cells"])
    assert record["cells"]["nls-zero"]["metrics"]["accuracy"]["n"] == 1
    assert record["data"]["test_images"] == 60


def test_its_findings_are_its_own(home: Home) -> None:
    answer = home.answers["findings"]
    assert answer.exit_code == 0, answer.output
    text = (home.models.parent / "findings.md").read_text(encoding="utf-8")
    assert digits.NAME in text
    assert "fashion" not in text.lower()


# ---------------------------------------------------------------- the app


def test_rest_lists_and_analyzes_its_models(client: TestClient) -> None:
    listed = {model["id"]: model for model in client.get("/api/v1/models").json()}
    assert set(IDS) < set(listed)
    assert client.get(f"/api/v1/models/{IDS[0]}").json()["classes"] == list(digits.CLASSES)
    files = {"image": ("a.png", picture_bytes(), "image/png")}
    form = {"models": ",".join(IDS), "attack": "fgsm", "epsilons": "1,4"}
    answer = client.post("/api/v1/analyze", files=files, data=form)
    assert answer.status_code == 200, answer.text
    models = answer.json()["models"]
    assert [model["id"] for model in models] == list(IDS)
    assert set(models[0]["prediction"]["probabilities"]) == set(digits.CLASSES)


def config(client: TestClient, route: str) -> dict[str, Any]:
    """A page as the browser gets it: Gradio writes its components and their values into it."""
    page = client.get(f"/ui/{route}")
    assert page.status_code == 200, page.text[:200]
    found = re.search(r"window\.gradio_config = (\{.*?\});</script>", page.text, re.DOTALL)
    assert found, page.text[:200]
    loaded: dict[str, Any] = json.loads(found.group(1))
    return loaded


def family_menus(page: dict[str, Any]) -> list[tuple[list[str], str]]:
    """The choices and the first value of a page's family menus."""
    menus = [c["props"] for c in page["components"] if c["props"].get("label") == "Family"]
    return [([value for _, value in menu["choices"]], menu["value"]) for menu in menus]


def test_every_page_opens(client: TestClient) -> None:
    routes = [route for route, *_ in config(client, "")["pages"]]
    assert len(routes) > 5
    for route in routes:
        assert config(client, route)["components"]


def test_compare_offers_it_last(client: TestClient) -> None:
    (menu,) = family_menus(config(client, ""))
    assert menu == (["photos", "fashion", digits.NAME], "photos")


@pytest.mark.parametrize("route", ["calibration", "robustness", "training", "findings"])
def test_reports_offer_it_and_still_open_with_a_family_of_the_project(
    client: TestClient, route: str
) -> None:
    (menu,) = family_menus(config(client, route))
    choices, first = menu
    assert choices[-1] == digits.NAME
    assert first in SHIPPED
