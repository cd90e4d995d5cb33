"""What the pages over the reports compute: live temperature, tables, verdicts."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from nls_core import zoo
from nls_core.analysis import choice
from nls_core.analysis.analyzer import Analyzer
from nls_core.errors import CheckpointError
from nls_core.evidence import verdicts
from nls_core.evidence.cells import label, percent
from nls_core.evidence.findings import CLAIMS, FINDINGS, FURTHER, KEYS
from nls_core.evidence.masking import SIGNS
from nls_core.families import OUT_OF_FOLD
from nls_core.metrics import calibration, fair_calibration
from nls_core.metrics.recalibration import RECALIBRATIONS
from nls_core.settings import Settings
from nls_core.web.pages import calibration as calibration_page
from nls_core.web.pages import family_reports, findings, training
from nls_core.web.pages import robustness as robustness_page
from nls_core.web.pages.calibration import MODES
from nls_core.web.pages.family_reports import Reports

MODELS = Settings().models_dir
WHERE: tuple[str, Path] = ("fashion", MODELS)
ONE, FITTED, OWN, *_ = MODES


@pytest.fixture(scope="module")
def data() -> Reports:
    return family_reports.load(*WHERE)


@pytest.mark.parametrize(("mode", "own"), [(ONE, 2.0), (FITTED, 2.0), (OWN, 2.0)])
def test_a_temperature_is_applied_live(data: Reports, mode: str, own: float) -> None:
    fitted = data.run("ce-zero").found["temperature"]
    t = {ONE: 1.0, FITTED: fitted, OWN: 2.0}[mode]
    shown, how = calibration_page.probabilities(WHERE, "ce-zero", mode, own)
    assert how == f"T = {t:.2f}"
    bins, found = calibration_page.measured(shown, data.labels)
    probs = (data.run("ce-zero").logits / t).softmax(1)
    assert found["ece"] == pytest.approx(calibration.ece(probs, data.labels), abs=1e-6)
    assert int(bins.counts.sum()) == len(data.labels)
    words = calibration_page.sentence("ce-zero", how, found)
    assert f"ECE-15 {100 * found['ece']:.2f} %" in words
    over = found["confidence"] > found["accuracy"]
    assert ("overconfident" in words) == over


def test_cross_entropy_is_overconfident_and_smoothing_underconfident(data: Reports) -> None:
    words = {
        cell: calibration_page.show(WHERE, [cell], ONE, 1.0)[0] for cell in ("ce-zero", "ls-zero")
    }
    assert "overconfident" in words["ce-zero"]
    assert "underconfident" in words["ls-zero"]


def test_diagrams_that_are_not_needed_are_hidden() -> None:
    text, *plots = calibration_page.show(WHERE, ["ce-zero", "nls-zero"], ONE, 1.0)
    assert [plot["visible"] for plot in plots] == [True, True, False, False]
    assert text.count("<b>") == 2
    empty, *none = calibration_page.show(WHERE, [], ONE, 1.0)
    assert "Choose a model" in empty
    assert not any(plot["visible"] for plot in none)


def test_the_calibration_table_is_the_reports(data: Reports) -> None:
    table, *_ = calibration_page.show_shift(WHERE, ["ce-zero", "nls-zero"], "blur")
    for cell in ("ce-zero", "nls-zero", "ce_temperature-zero"):
        ece = data.evidence.cells[cell]["metrics"]["ece"]["mean"]
        assert f"<td>{label(cell)}</td>" in table
        assert f"{100 * ece:.2f}" in table


def test_the_calibration_table_has_the_columns_that_were_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shown(reports: Reports) -> list[str]:
        monkeypatch.setattr(family_reports, "load", lambda *_: reports)
        table, *_ = calibration_page.show_shift(WHERE, ["ce-zero", "nls-zero"], "blur")
        return [name for name in calibration_page.NAMES.values() if f"<th>{name}</th>" in table]

    older = family_reports.load(*WHERE)
    record = copy.deepcopy(dict(older.evidence.record))
    for cell in record["cells"].values():
        for name in fair_calibration.FAIR:
            cell["metrics"].pop(name, None)
    assert not {"noise floor %", "smooth ECE %"} & set(
        shown(replace(older, evidence=replace(older.evidence, record=record)))
    )
    record = copy.deepcopy(record)
    for name in fair_calibration.FAIR:
        record["cells"]["nls-zero"]["metrics"][name] = {"mean": 0.005, "sd": 0.001, "n": 3}
    newer = replace(older, evidence=replace(older.evidence, record=record))
    assert shown(newer) == list(calibration_page.NAMES.values())


def test_the_masking_table_names_signs(data: Reports) -> None:
    head, *rows = robustness_page.masking_table(data.evidence)
    assert [row[0] for row in rows] == [
        label(c) for c, found in data.evidence.cells.items() if "masking" in found
    ]
    for row, found in zip(
        rows, (f for f in data.evidence.cells.values() if "masking" in f), strict=True
    ):
        assert len(row) == len(head)
        assert row[1] == str(found["masking"]["runs"])
        assert all(sign in row[-3] for sign in found["masking"]["signs"])
    read = robustness_page.how_to_read(data.evidence)
    assert all(sign in read for sign in SIGNS)


def test_the_training_table_has_every_cell(data: Reports) -> None:
    table, *_ = training.show_rest(MODELS, "fashion")
    assert all(f"<td>{label(cell)}</td>" in table for cell in data.runs)


def test_all_findings_are_on_their_page() -> None:
    overview, *parts = findings.show(MODELS, "fashion")
    assert len(parts) == 4 * len(KEYS)
    shown = {key for n, key in enumerate(KEYS) if parts[4 * n]["visible"]}
    evidence = verdicts.read("fashion", MODELS)
    further = [key for name, more in FURTHER.items() if getattr(evidence, name) for key in more]
    assert shown == {*FINDINGS, *further}
    assert all(f'#finding-{key}"' in overview for key in shown)


def test_a_family_measured_out_of_fold_has_the_findings_that_it_can_have() -> None:
    overview, *parts = findings.show(MODELS, "photos")
    shown = {key for n, key in enumerate(KEYS) if parts[4 * n]["visible"]}
    assert shown == set(CLAIMS[OUT_OF_FOLD])
    # two runs of ce-zero and nls-zero can refute a claim, one of nls-partial cannot
    assert "One run of nls, partial: the intervals cover new objects, no new" in parts[1]
    assert "does not hold" in overview


@pytest.mark.parametrize("page", [calibration_page, robustness_page, training, findings])
def test_without_a_report_a_page_says_what_makes_it(page: object, analyzer: Analyzer) -> None:
    import asyncio

    async def make() -> list[str]:
        with gr.Blocks(analytics_enabled=False) as blocks:
            page.build(analyzer)  # type: ignore[attr-defined]
        return [str(b.value) for b in blocks.blocks.values() if isinstance(b, gr.HTML)]

    assert any("make reproduce" in text for text in asyncio.run(make()))


def test_diagrams_show_the_seed_that_ships(data: Reports) -> None:
    for cell in data.runs:
        manifest = zoo.read_manifest(f"fashion/{cell}", MODELS)
        probs, how = calibration_page.probabilities(WHERE, cell, ONE, 1.0)
        assert how == "T = 1.00"
        found = calibration_page.measured(probs, data.labels)[1]
        assert data.run(cell).found["sha256"] == manifest.sha256
        assert found["ece"] == pytest.approx(manifest.metrics["ece"], abs=2e-4)  # float16 logits


@pytest.mark.parametrize("mode", list(calibration_page.MODES))
def test_each_recalibration_is_drawn_and_told(data: Reports, mode: str) -> None:
    words, first, *rest = calibration_page.show(WHERE, ["ls-zero"], mode, 2.0)
    how = mode if calibration_page.MODES[mode] in RECALIBRATIONS else "T = "
    assert f"<b>ls, zero</b>, {how}" in words
    assert how in first["value"].layout.title.text
    assert [each["visible"] for each in rest] == [False] * 3


def test_what_can_be_had_without_training_is_a_table_of_the_report(data: Reports) -> None:
    every = data.evidence.cells
    found = calibration_page.after_training(every, ["ls-zero", "nls-zero"])
    kept = every["ls-zero"]["after_training"]
    for entry in (kept["recalibrated"]["margin"]["ece"], kept["selective"]["normalized"]["aurc"]):
        assert f"<td>{percent(entry)}</td>" in found
    older = {"ls-zero": {"metrics": every["ls-zero"]["metrics"]}}
    assert calibration_page.after_training(older, ["ls-zero"]) == ""


def test_a_report_is_read_again_when_it_changed(tmp_path: Path) -> None:
    import os
    import shutil

    shutil.copytree(MODELS / "fashion", tmp_path / "fashion")
    first = family_reports.load("fashion", tmp_path)
    assert family_reports.load("fashion", tmp_path) is first
    path = tmp_path / "fashion" / "report.json"
    os.utime(path, ns=(1, 1))
    assert family_reports.load("fashion", tmp_path) is not first


@pytest.fixture(scope="module")
def shipped() -> Analyzer:
    return Analyzer(Settings(models_dir=MODELS, device="cpu"))


@pytest.fixture
def more(models_dir: Path, tmp_path: Path) -> Analyzer:
    """Both shipped families' reports beside tiny models, and a third family whose name is first."""
    import shutil

    for family, source in (("aaa-1", "fashion"), ("fashion", "fashion"), ("photos", "photos")):
        shutil.copytree(models_dir / "tiny", tmp_path / family)
        for path in tmp_path.glob(f"{family}/*/config.json"):
            path.write_text(path.read_text().replace('"tiny/', f'"{family}/'))
        shutil.copy(MODELS / source / "report.json", tmp_path / family)
    return Analyzer(Settings(models_dir=tmp_path, device="cpu"))


def test_each_page_has_the_families_that_have_what_it_shows(shipped: Analyzer) -> None:
    families = family_reports.families
    assert families(shipped) == ["fashion", "photos"]
    assert families(shipped, family_reports.has("robust")) == ["fashion", "photos"]
    assert families(shipped, family_reports.has("masks")) == ["photos"]
    assert families(shipped, training.trained) == ["fashion", "photos"]


def test_a_family_whose_name_sorts_first_takes_no_page_over(more: Analyzer) -> None:
    from nls_core.web.pages.compare_work import Compare

    assert family_reports.families(more) == ["fashion", "photos", "aaa-1"]
    assert family_reports.families(more, training.trained) == ["fashion", "photos", "aaa-1"]
    assert Compare(more).families == ("photos", "fashion", "aaa-1")


@pytest.mark.parametrize(("page", "attacked"), [(training, False), (robustness_page, True)])
def test_a_page_of_cells_begins_with_those_of_zero_padding(
    page: object, attacked: bool, shipped: Analyzer
) -> None:
    import asyncio

    async def menus() -> dict[str, gr.Dropdown]:
        with gr.Blocks(analytics_enabled=False) as blocks:
            page.build(shipped)  # type: ignore[attr-defined]
        return {str(b.label): b for b in blocks.blocks.values() if isinstance(b, gr.Dropdown)}

    models = asyncio.run(menus())["Models"]
    every = family_reports.cells("fashion", MODELS, attacked=attacked)
    assert [name for name, _ in models.choices] == every
    assert models.value == [cell for cell in every if cell.endswith("-zero")]


def test_a_menu_of_one_family_is_hidden() -> None:
    import asyncio

    async def make(names: list[str]) -> bool:  # outside a running loop Gradio leaves one open
        with gr.Blocks(analytics_enabled=False):
            return bool(family_reports.menu(names).visible)

    assert asyncio.run(make(["fashion", "aaa-1"]))
    assert not asyncio.run(make(["fashion"]))


def test_a_damaged_report_hides_its_own_family_alone(more: Analyzer) -> None:
    (more.settings.models_dir / "fashion" / "report.json").write_text("{", encoding="utf-8")
    assert family_reports.families(more, training.trained) == ["photos", "aaa-1"]
    for family in ("photos", "aaa-1"):
        (more.settings.models_dir / family / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="damaged"):
        family_reports.families(more, training.trained)


def test_pages_begin_with_the_pair_that_the_report_chooses(shipped: Analyzer) -> None:
    for family in family_reports.families(shipped):
        record = family_reports.load(family, MODELS).evidence.record
        chosen = choice.pair(choice.of_report(record))
        assert tuple(calibration_page.choices((family, MODELS))[1]) == chosen
        assert shipped.pair(family) == tuple(f"{family}/{cell}" for cell in chosen)


def test_where_no_shift_was_measured_its_row_is_hidden() -> None:
    pair = ["ce-zero", "nls-zero"]
    shown = calibration_page.show_shift(WHERE, pair, "noise")[1:4]
    assert [part["visible"] for part in shown] == [True, True, True]
    hidden = calibration_page.show_shift(("photos", MODELS), pair, "noise")[1:4]
    assert [part["visible"] for part in hidden] == [False, False, False]


def test_attacks_of_photos_are_shown_once_their_report_has_them(more: Analyzer) -> None:
    folder = more.settings.models_dir
    path = folder / "photos" / "report.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    left = {key: {"mean": 0.4, "sd": None, "n": 1} for key in ("0.25", "0.5", "1", "2")}
    record["data"]["attacked_images"] = 517
    for cell in record["cells"].values():
        cell.pop("robust", None)
    for cell in ("ce-zero", "nls_ls-zero"):
        record["cells"][cell] |= {"robust": {"pgd": left, "apgd-ce": left}}
        record["cells"][cell]["metrics"]["curve_area"] = {"mean": 0.7, "sd": None, "n": 1}
    path.write_text(json.dumps(record), encoding="utf-8")
    shows = family_reports.has("robust")
    assert family_reports.families(more, shows) == ["fashion", "photos", "aaa-1"]
    assert "photos" in family_reports.families(more, training.trained)
    shown, attack, one, epsilon, read = robustness_page.other(folder, "photos")
    assert set(shown["choices"]) == set(one["choices"]) == {"ce-zero", "nls_ls-zero"}
    assert (attack["choices"], attack["value"]) == (["pgd", "apgd-ce"], "apgd-ce")
    assert (epsilon["choices"], epsilon["visible"]) == (["0.25", "0.5", "1", "2"], False)
    assert "517 test images" in read
    assert "masking" not in read
    head, *rows = robustness_page.masking_table(verdicts.read("photos", folder))
    assert head == ["model", "runs", "0.25/255", "0.5/255", "1/255", "2/255"]
    assert [row[0] for row in rows] == [label("ce-zero"), label("nls_ls-zero")]
    assert all(row[1:] == ["1", *["40.0"] * 4] for row in rows)
    assert "cosine" in training.how_to_read("photos")
    assert "tenfold" in training.how_to_read("fashion")


def test_another_family_fills_the_menus_of_the_robustness_page() -> None:
    shown, attack, one, epsilon, read = robustness_page.other(MODELS, "fashion")
    assert attack["value"] == "worst"
    assert epsilon["choices"] == ["0.5", "1", "2", "4", "8"]
    assert one["value"] in shown["choices"]
    assert "test images" in read
