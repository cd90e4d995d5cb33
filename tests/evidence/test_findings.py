"""Findings: verdicts follow the intervals, and no figure comes from anywhere but the reports."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from nls_core import families
from nls_core.evidence import cells, findings, over_epochs, robustness, verdicts
from nls_core.evidence.findings import FINDINGS, FURTHER
from nls_core.evidence.verdicts import HOLDS, NOT, PARTLY, UNDECIDED, Endpoint, Evidence
from nls_core.settings import ROOT, Settings
from tests.helpers.command import Nls

MODELS = Settings().models_dir
WRITTEN = ROOT / "docs" / "findings.md"


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return verdicts.read("fashion", MODELS)


def test_the_document_is_what_the_reports_make(evidence: Evidence) -> None:
    courses = over_epochs.read(MODELS)
    assert WRITTEN.read_text(encoding="utf-8") == findings.document(evidence, courses)


def numbers(node: Any) -> list[float]:
    """All numbers of a JSON value, and the numbers within its names."""
    if isinstance(node, dict):
        named = [float(n) for key in node for n in re.findall(r"\d+(?:\.\d+)?", key)]
        return named + [n for value in node.values() for n in numbers(value)]
    if isinstance(node, list):
        return [n for value in node for n in numbers(value)]
    if isinstance(node, str):
        return [float(n) for n in re.findall(r"\d+(?:\.\d+)?", node)]
    return [float(node)] if isinstance(node, int | float) and not isinstance(node, bool) else []


def test_every_figure_of_the_document_is_in_a_report(evidence: Evidence) -> None:
    further = [getattr(evidence, name) for name in FURTHER]
    known = numbers(
        [evidence.record, evidence.search, evidence.ablations, list(evidence.bench), *further]
    )
    rounded = {f"{abs(v) * s:.{d}f}" for v in known for s in (1, 100) for d in range(7)}
    spans = re.findall(r"spans (\d+\.\d+) points", findings.document(evidence))
    text = re.sub(r"spans \d+\.\d+ points|arXiv \d+\.\d+|e-\d+", "", findings.document(evidence))
    text = re.sub(r"(ECE-15|L2|95 %|15 equal|85, 88 and 90|top-20|0\.3 points|\d+-NN)", "", text)
    for figure in re.findall(r"(?<![\w.])\d+\.\d+", text):
        assert figure in rounded, figure
    assert len(spans) in (0, 1, 2)


def ending(low: float | None, high: float | None, p: float = 0.5) -> dict[str, Any]:
    """A difference as a report holds it; its 90 % interval is 0.84 times as wide."""
    if low is None or high is None:
        return {"difference": 0.0} | dict.fromkeys(("low", "high", "low_90", "high_90", "p"))
    middle, half = (low + high) / 2, 0.84 * (high - low) / 2
    inner = {"low_90": middle - half, "high_90": middle + half}
    return {"difference": middle, "low": low, "high": high, "p": p} | inner


def made(low: float | None, high: float | None, p: float = 0.5, better: int = 1) -> Endpoint:
    return Endpoint("it", ending(low, high, p), better, margin=0.02)


UP, DOWN = made(0.01, 0.1, p=0.01), made(-0.1, -0.01, p=0.01)
SAME, WIDE, NONE = made(-0.01, 0.01), made(-0.1, 0.1), made(None, None)


@pytest.mark.parametrize(
    ("endpoint", "wanted"),
    [(UP, "better"), (DOWN, "worse"), (SAME, "equal"), (WIDE, "undecided"), (NONE, None),
     (made(-0.1, -0.01, better=-1), "better"), (Endpoint("it", None, 1, 0.1), None),
     (made(-0.021, 0.021), "equal"), (made(-0.0, 0.05), "undecided")],
)  # fmt: skip
def test_an_endpoint_is_on_a_side_only_if_its_whole_interval_is(
    endpoint: Endpoint, wanted: str | None
) -> None:
    assert endpoint.outcome == wanted


@pytest.mark.parametrize(
    ("endpoints", "wanted"),
    [([UP, UP], HOLDS), ([UP, WIDE], PARTLY), ([UP, DOWN], PARTLY), ([SAME, DOWN], NOT),
     ([WIDE, DOWN], UNDECIDED), ([NONE, DOWN], UNDECIDED), ([], UNDECIDED), ([UP, NONE], PARTLY),
     # better on its own, but not after Holm's correction for three
     ([made(0.001, 0.1, p=0.04), WIDE, WIDE], UNDECIDED)],
)  # fmt: skip
def test_verdicts(endpoints: list[Endpoint], wanted: str) -> None:
    assert verdicts.verdict(endpoints) == wanted


def test_figures_as_people_read_them() -> None:
    entry = {"mean": 0.5, "sd": 0.01, "n": 3, "vs_ce_zero": ending(-0.02, 0.01)}
    assert cells.gap(entry) == "-0.50 [-2.00, +1.00]"
    assert cells.gap(None) == "-"
    assert cells.percent(entry) == "50.00 ± 1.00"


def test_the_margins_are_those_of_the_rules() -> None:
    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| (\d[\d.]*)(?: points?)? \|$", text, re.M))
    points = {"accuracy, area under the curve of validation accuracy": ("accuracy", "curve_area"),
              "ECE": ("ece",), "AURC": ("aurc",), "accuracy under attack": ("robust",),
              "accuracy and ECE under shift": ("accuracy_shift", "ece_shift")}  # fmt: skip
    plain = {"NLL": ("nll",), "Brier score": ("brier",), "scores of maps": ("maps",)}
    stated = {n: float(rows[k]) / 100 for k, names in points.items() for n in names}
    stated |= {n: float(rows[k]) for k, names in plain.items() for n in names}
    assert stated == pytest.approx(verdicts.MARGINS)


def test_a_changed_report_changes_the_verdict(evidence: Evidence) -> None:
    def calibrated(low: float, high: float, p: float) -> str:
        record = copy.deepcopy(dict(evidence.record))
        for padding in ("zero", "partial"):
            for name in ("ece", "nll", "brier", "aurc", "ece_shift"):
                gap = ending(low, high, p)
                record["cells"][f"nls-{padding}"]["metrics"][name]["vs_ce_zero"] = gap
        changed = Evidence("fashion", record, evidence.search, evidence.ablations)
        return FINDINGS["calibration"](changed).verdict

    assert calibrated(-0.03, -0.01, 0.001) == HOLDS
    assert calibrated(0.01, 0.03, 0.001) == NOT
    assert calibrated(-0.00001, 0.00001, 0.9) == NOT
    assert calibrated(-0.01, 0.01, 0.9) == UNDECIDED


def test_a_calibrated_loss_that_masks_gradients_resists_in_part_only(evidence: Evidence) -> None:
    record = copy.deepcopy(dict(evidence.record))
    nls = record["cells"]["nls-zero"]
    for each in nls["robust"]["worst"].values():
        each["vs_ce_zero"] = ending(0.01, 0.1, 0.001)
    changed = Evidence("fashion", record, evidence.search, evidence.ablations)
    nls["masking"]["signs"] = []
    assert FINDINGS["robustness"](changed).verdict == HOLDS
    nls["masking"]["signs"] = ["black box wins"]
    assert FINDINGS["robustness"](changed).verdict == PARTLY


@pytest.mark.parametrize("key", FINDINGS)
def test_every_finding_has_a_table_of_even_rows_and_a_command(key: str, evidence: Evidence) -> None:
    found = FINDINGS[key](evidence)
    assert found.key == key
    assert len({len(row) for row in found.table}) == 1
    assert len(found.table) > 1
    assert found.command.startswith("nls ")
    assert found.verdict in (HOLDS, PARTLY, NOT, UNDECIDED)


@pytest.mark.parametrize("key", FINDINGS)
def test_findings_say_so_where_nothing_was_measured(key: str, evidence: Evidence) -> None:
    data = evidence.record["data"]
    empty = Evidence("fashion", {"cells": {}, "data": data, "command": "nls"}, {}, {})
    assert FINDINGS[key](empty).verdict == UNDECIDED


def test_the_command_writes_the_document(
    nls: Nls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLS_MODELS_DIR", str(MODELS))
    ended = nls("findings", "--output", str(tmp_path / "f.md"))
    assert ended.status == 0
    assert (tmp_path / "f.md").read_bytes() == WRITTEN.read_bytes()
    assert len(ended.out.splitlines()) == len(findings.all_of(verdicts.read("fashion", MODELS)))
    assert json.loads((MODELS / "fashion" / "report.json").read_text())["schema"] == 2


def test_without_a_report_it_fails_in_one_line(nls: Nls, tmp_path: Path) -> None:
    ended = nls("findings", "tiny", "--output", str(tmp_path / "f.md"))
    assert ended.status == 1
    assert "report.json is missing" in ended.line
    assert not (tmp_path / "f.md").exists()


def test_each_family_has_a_document_of_its_own(
    nls: Nls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models/aaa-first").mkdir(parents=True)
    shutil.copy(MODELS / "fashion/report.json", tmp_path / "models/aaa-first")
    monkeypatch.setenv("NLS_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    assert nls("findings", "aaa-first").status == 0
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["findings-aaa-first.md"]
    written = (tmp_path / "docs/findings-aaa-first.md").read_text(encoding="utf-8")
    assert "(images/finding-aaa-first-calibration.svg)" in written
    assert findings.document_path("fashion") == Path("docs/findings.md")
    ended = nls("findings")  # not of the family whose name sorts first
    assert ended.status == 1
    assert "fashion/report.json is missing" in ended.line


def test_the_first_declared_family_has_the_document_without_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert findings.document_path("fashion") == Path("docs/findings.md")
    assert findings.chart_name("maps", "fashion") == "finding-maps.svg"
    assert findings.document_path("photos") == Path("docs/findings-photos.md")
    photos, fashion = families.FAMILIES["photos"], families.FAMILIES["fashion"]
    monkeypatch.setattr(families, "FAMILIES", {"photos": photos, "fashion": fashion})
    assert findings.first() == "photos"


def test_no_cell_of_a_report_is_left_out() -> None:
    names = ["nls-zero", "mine-zero", "cosine-zero", "ce_temperature-zero", "ce-partial", "ce-zero"]
    known = ["ce-zero", "ce-partial", "ce_temperature-zero", "nls-zero", "cosine-zero"]
    assert cells.ordered({name: {} for name in names}) == [*known, "mine-zero"]
    assert cells.ordered({"ce-mirror": {}, "ce-zero": {}}) == ["ce-zero", "ce-mirror"]


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [("nls-zero", ("nls", "zero")), ("nls_ls-partial", ("nls_ls", "partial")),
     ("ce-partial-authors", ("ce", "partial-authors")), ("dummy-loss-zero", ("dummy-loss", "zero")),
     ("ce-mirror", ("ce", "mirror"))],
)  # fmt: skip
def test_a_cell_is_a_loss_and_a_padding(cell: str, wanted: tuple[str, str]) -> None:
    assert cells.parts(cell) == wanted


@pytest.mark.parametrize("key", ["calibration", "robustness", "generalization", "maps"])
def test_a_cell_of_another_loss_stands_in_the_table(key: str, evidence: Evidence) -> None:
    record = copy.deepcopy(dict(evidence.record))
    record["cells"]["mine-zero"] = record["cells"]["nls-zero"]
    found = FINDINGS[key](Evidence("fashion", record, {}, {}))
    assert "mine, zero" in [row[0] for row in found.table]


def test_cells_that_met_fewer_attacks_are_named(evidence: Evidence) -> None:
    robust = evidence.cells["nls-zero"]["robust"]
    cells = {name: {**cell, "robust": robust} for name, cell in evidence.cells.items()}
    all_of_them = dataclasses.replace(evidence, record={**evidence.record, "cells": cells})
    assert "Without a run" not in FINDINGS["robustness"](all_of_them).text
    without = {**cells, "ls-zero": {k: v for k, v in cells["ls-zero"].items() if k != "robust"}}
    bare = dataclasses.replace(evidence, record={**evidence.record, "cells": without})
    finding = FINDINGS["robustness"](bare)
    assert "Without a run that met all attacks: ls, zero." in finding.text
    assert "ls, zero" not in {row[0] for row in finding.table}


def test_attacks_that_no_run_met_are_named(evidence: Evidence) -> None:
    robust = dict(evidence.cells["nls-zero"]["robust"])
    met = robust | dict.fromkeys(robustness.CASES, robust["worst"])
    without = {name: cases for name, cases in met.items() if name != "apgd-t"}
    for given, said in ((met, False), (without, True)):
        cells = {name: {**cell, "robust": given} for name, cell in evidence.cells.items()}
        of_these = dataclasses.replace(evidence, record={**evidence.record, "cells": cells})
        text = FINDINGS["robustness"](of_these).text
        assert ("No run has met `apgd-t` yet" in text) == said


@pytest.mark.parametrize("met", ["autoattack", "a new one"])
def test_the_legend_names_the_attacks_that_were_met(evidence: Evidence, met: str) -> None:
    legend = findings.document(evidence).split("## Attacks\n")[1]
    named = re.findall(r"^- `([^`]+)`: ", legend, re.MULTILINE)
    assert set(named) == {
        name for cell in evidence.cells.values() for name in cell.get("robust", {})
    }
    assert met not in named
    robust = evidence.cells["nls-zero"]["robust"]
    cells = {"nls-zero": {"robust": robust | {met: robust["worst"]}, "metrics": {}}}
    of_these = dataclasses.replace(evidence, record={**evidence.record, "cells": cells})
    assert list(of_these.attacks) == [*named, met]


def test_robustness_claims_nothing_of_what_was_not_attacked(evidence: Evidence) -> None:
    data = dict(evidence.record["data"])
    bare = Evidence("fashion", {"cells": {}, "data": data, "command": "nls"}, {}, {})
    text = FINDINGS["robustness"](bare).text
    assert "keeps" not in text
    assert text.endswith("No cell was attacked.")
