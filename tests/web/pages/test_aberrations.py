"""The part of Training about aberrant data: what was measured, and what was not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from nls_core import files
from nls_core.evidence.cells import label, percent
from nls_core.settings import Settings
from nls_core.web.pages import aberrations, findings
from tests.helpers import aberrant

RECORD = aberrant.record(("clean", "symmetric 20 %", "long tail 10"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files.write_json(tmp_path / "tiny" / "aberrations.json", RECORD)
    return tmp_path


def test_it_begins_with_the_first_noise_of_the_first_group(folder: Path) -> None:
    box, menu, slider, words, *rest = aberrations.begin(folder, "tiny")
    assert box["visible"]
    assert menu["choices"] == list(aberrant.GROUPS)
    assert (slider["minimum"], slider["maximum"], slider["step"]) == (0, 40, 20)
    assert slider["value"] == 20
    assert "symmetric 20 %" in words
    assert "Not measured yet: symmetric 40 %" in words
    assert all(plot["visible"] for plot in rest[:2])


@pytest.mark.parametrize(("level", "name"), [(0, "clean"), (20, "symmetric 20 %")])
def test_the_slider_shows_the_runs_of_its_level(folder: Path, level: float, name: str) -> None:
    words, dots, lines, table = aberrations.show(folder, "tiny", "symmetric noise", level)
    assert f"<b>{name}</b>, 3 epochs" in words
    cells = RECORD["conditions"][name]["cells"]
    for cell in aberrant.LEAN:
        assert f"<td>{label(cell)}</td>" in table
        assert f"<td>{percent(cells[cell]['metrics']['accuracy'])}</td>" in table
    got = {trace.y[0]: trace.x[0] for trace in dots["value"].data}
    assert got == {label(c): cells[c]["metrics"]["accuracy"]["mean"] for c in cells}
    assert lines["value"].layout.title.text == "ECE-15 after training on symmetric noise"


def test_a_level_without_runs_says_so(folder: Path) -> None:
    words, dots, lines, table = aberrations.show(folder, "tiny", "symmetric noise", 40)
    assert "not measured yet; <code>nls train --grid tiny --aberrations</code>" in words
    assert not dots["visible"]
    assert not lines["visible"]
    assert table == ""


def test_another_group_has_a_slider_of_its_own(folder: Path) -> None:
    slider, words, *_ = aberrations.turn(folder, "tiny", "long tails")
    assert (slider["minimum"], slider["maximum"], slider["step"]) == (0, 1, 1)
    assert slider["label"] == aberrations.TAIL
    assert "long tail 10" in words


@pytest.mark.parametrize(("family", "shown"), [("fashion", True), ("photos", False)])
def test_a_family_without_runs_says_what_makes_them(
    family: str, shown: bool, tmp_path: Path
) -> None:
    box, menu, slider, words, *rest = aberrations.begin(tmp_path, family)
    assert box["visible"] == shown
    assert f"nls train --grid {family} --aberrations" in words
    assert not any(each["visible"] for each in (menu, slider, *rest[:2]))


def test_the_findings_show_the_claim_once_it_is_measured(tmp_path: Path) -> None:
    shutil.copytree(Settings().models_dir / "fashion", tmp_path / "fashion")
    files.write_json(tmp_path / "fashion" / "aberrations.json", RECORD)
    overview, *parts = findings.show(tmp_path, "fashion")
    assert '#finding-aberrations"' in overview
    shown: Any = parts[-4]
    assert shown["visible"]
    assert "Normalized soft labels help with aberrant data." in parts[-3]
