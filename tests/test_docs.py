"""What the documents say is what the files hold."""

from __future__ import annotations

import inspect
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from nls_core.losses import LOSSES, OPTIONS, WITHOUT_SMOOTHING
from nls_core.settings import ROOT, Settings
from tests.helpers.scripts import script

README = (ROOT / "README.md").read_text(encoding="utf-8")
HOUSE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TABLES = script("make_tables")
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", prose):
        assert (path.parent / target).exists(), target


def test_what_is_claimed_beside_other_tools_names_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| ")][2:]
    ours = {row[0]: row[1] for row in rows}
    assert {len(row) for row in rows} == {7}
    for what, claim in ours.items():
        named = re.findall(r"`(tests/[^`]+\.py)`", claim)
        assert named or claim == "-", what
        assert all((ROOT / name).exists() for name in named), what


def test_the_map_of_the_house_is_the_house() -> None:
    rows = re.search(r"\| room \|.*?\n\n", HOUSE, re.DOTALL)
    assert rows
    named = {name for row in rows[0].splitlines() for name in row.split(" | ")[0].split("`")[1::2]}
    inside = (ROOT / "nls_core").iterdir()
    rooms = {
        path.stem for path in inside if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert named == {name for name in rooms if not name.startswith("_")}


def test_the_files_that_the_map_names_are_there() -> None:
    paths = re.findall(r"`((?:nls_core|tests|docs|scripts|static|models)/[\w/.]*|app\.py)`", HOUSE)
    assert len(paths) > 30
    for path in paths:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(("name", "module"), re.findall(r"`([A-Z]+)` of `([\w.]+)`", HOUSE))
def test_what_one_adds_to_is_a_dict(name: str, module: str) -> None:
    assert isinstance(getattr(import_module(module), name), dict)


def test_the_two_commands_stand_in_the_first_screen() -> None:
    first = README.split("---", 2)[2].splitlines()[:25]
    assert any(line.startswith("make run") for line in first)
    assert any(line.startswith("make test") for line in first)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_chosen_learning_rates_are_the_best_that_were_tried() -> None:
    record = json.loads((Settings().models_dir / "fashion" / "search.json").read_text())
    for loss, rate in record["chosen"].items():
        tried = {r["lr"]: r["val_accuracy"] for r in record["tried"] if r["loss"] == loss}
        assert tried[rate] == max(tried.values())


def test_the_table_of_losses_is_the_registry() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- losses -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert table
    rows = [[c.strip() for c in r.strip("|").split("|")] for r in table[1].splitlines()[2:]]
    assert [row[0].strip("`") for row in rows] == list(LOSSES)
    names = {"λ": "weight", "m": "margin", "τ": "tau"}
    for name, _, options, _ in rows:
        loss = name.strip("`")
        assert ("s" in options.split(", ")) == (loss not in WITHOUT_SMOOTHING)
        stated = {names[k]: float(v) for k, v in re.findall(r"(\S) = ([\d.]+)", options)}
        own = inspect.signature(LOSSES[loss]).parameters
        assert stated == {k: own[k].default for k in OPTIONS if k in own}
    assert f"{('Ten', 'Eleven')[len(LOSSES) - 11]} more losses" in README


def test_the_changelog_counts_the_models_that_ship() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert not re.search(r"no model of this family", text)  # every family that it names has some
    shipped = len(list((Settings().models_dir / "fashion").glob("*/config.json")))
    numbers = ("seven", "eight", "nine", "ten", "eleven", "twelve")
    counted = re.findall(r"(\w+) Fashion-MNIST models", text)
    assert [7 + numbers.index(word.lower()) for word in counted] == [shipped]


@pytest.mark.parametrize("page", TABLES.PAGES)
def test_tables_are_what_the_script_makes_of_the_reports(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert TABLES.filled(page, text, Settings().models_dir) == text


def test_a_page_without_a_place_for_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one <!-- claims -->"):
        TABLES.filled("README.md", "no table", Settings().models_dir)
