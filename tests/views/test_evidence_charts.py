"""Charts show the figures of the shipped report, in the colour and dash of their cell."""

from __future__ import annotations

import pytest

from nls_core.evidence import robustness
from nls_core.evidence.cells import label, ordered
from nls_core.evidence.findings import CLAIMS, FINDINGS, FURTHER, KEYS
from nls_core.families import OUT_OF_FOLD
from nls_core.settings import Settings
from nls_core.views import cell_style, evidence_charts, palette, run_charts
from nls_core.web.pages import family_reports
from nls_core.web.pages.family_reports import Reports
from tests.helpers import aberrant


@pytest.fixture(scope="module")
def data() -> Reports:
    return family_reports.load("fashion", Settings().models_dir)


@pytest.fixture(scope="module")
def cells(data: Reports) -> list[str]:
    return family_reports.cells("fashion", Settings().models_dir)


def test_every_finding_has_its_chart(data: Reports) -> None:
    assert set(evidence_charts.OF_FINDING) == set(KEYS)
    for key in (*FINDINGS, *(key for more in FURTHER.values() for key in more)):
        figure = evidence_charts.OF_FINDING[key](data.evidence, data.runs)
        assert figure.layout.title.text
        assert figure.layout.xaxis.title.text


def test_every_finding_out_of_fold_has_its_chart() -> None:
    photos = family_reports.load("photos", Settings().models_dir)
    for key in CLAIMS[OUT_OF_FOLD]:
        figure = evidence_charts.OF_FINDING[key](photos.evidence, photos.runs)
        assert figure.layout.title.text


def test_every_loss_has_its_own_colour(data: Reports) -> None:
    losses = {cell.rsplit("-", 1)[0] for cell in data.evidence.cells}
    assert len({cell_style.colour(f"{loss}-zero") for loss in losses}) == len(losses)
    assert cell_style.dash("nls_ls-partial") == "dash"
    assert cell_style.colour("nls_ls-zero") == palette.LOSS_COLOURS["nls_ls"]


@pytest.mark.parametrize("attack", [*robustness.MEANING])
def test_accuracy_over_epsilon_is_the_reports(data: Reports, cells: list[str], attack: str) -> None:
    every = data.evidence.cells
    attacked = family_reports.cells("fashion", Settings().models_dir, attacked=True)
    attacked = [cell for cell in attacked if attack in every[cell]["robust"]]
    assert attacked or attack not in ("pgd", robustness.WORST)  # a report may be older than a case
    figure = evidence_charts.over_epsilon(every, attack, cells)
    lines = [trace for trace in figure.data if trace.name]
    assert [line.name for line in lines] == [label(c) for c in attacked]
    for line, cell in zip(lines, attacked, strict=True):
        assert line.y[0] == every[cell]["metrics"]["accuracy"]["mean"]
        assert list(line.y[1:]) == [e["mean"] for e in every[cell]["robust"][attack].values()]
        assert list(line.x[1:]) == [255 * e for e in robustness.EPSILONS]
        assert line.line.dash == cell_style.dash(cell)


def test_dots_by_cell(data: Reports) -> None:
    every = data.evidence.cells
    figure = evidence_charts.by_cell(every, "ece", "ECE-15")
    got = {trace.y[0]: trace.x[0] for trace in figure.data}
    assert got == {label(c): every[c]["metrics"]["ece"]["mean"] for c in ordered(every)}
    spread = {trace.y[0]: trace.error_x.array[0] for trace in figure.data}
    assert spread[label("ce-zero")] == (every["ce-zero"]["metrics"]["ece"]["sd"] or 0)


def test_curves_are_means_over_seeds(data: Reports) -> None:
    figure = run_charts.curves(data.runs, "val_accuracy", ["ce-zero"])
    (line,) = (trace for trace in figure.data if trace.name)
    logs = [run.found["curve"] for run in data.runs["ce-zero"].values()]
    assert line.y[-1] == pytest.approx(sum(log[-1]["val_accuracy"] for log in logs) / len(logs))
    assert len(line.x) == len(logs[0])


def test_shift_begins_with_the_clean_split(data: Reports) -> None:
    figure = run_charts.under_shift(data.runs, "noise", "ece", ["ce-zero"])
    (line,) = (trace for trace in figure.data if trace.name)
    runs = [run.found for run in data.runs["ce-zero"].values()]
    clean = sum(f["metrics"]["ece"] for f in runs) / len(runs)
    worst = sum(f["shift"]["noise"][4]["ece"] for f in runs) / len(runs)
    assert (line.y[0], line.y[5]) == (pytest.approx(clean), pytest.approx(worst))


def test_the_transfer_matrix_has_white_box_attacks_on_its_diagonal(data: Reports) -> None:
    every = data.evidence.cells
    (heat,) = evidence_charts.transfer(every, "4").data
    for i, source in enumerate(heat.y):
        for j, target in enumerate(heat.x):
            entry = (
                every[target]["robust"]["pgd"]
                if source == target
                else (every[target]["transfer"].get(source))
            )
            assert heat.z[i][j] == (entry["4"]["mean"] if entry else None)
            assert heat.text[i][j] == (f"{100 * entry['4']['mean']:.0f}" if entry else "")


def test_the_search_marks_what_was_chosen(data: Reports) -> None:
    record = data.evidence.search
    figure = run_charts.search(record)
    for trace in figure.data:
        sizes = dict(zip(trace.x, trace.marker.size, strict=True))
        assert max(sizes, key=lambda rate: sizes[rate]) == record["chosen"][trace.name]
        values = dict(zip(trace.x, trace.y, strict=True))
        assert values[record["chosen"][trace.name]] == max(values.values())


def test_accuracy_over_the_noise_is_the_records() -> None:
    record = aberrant.record(("clean", "symmetric 20 %", "long tail 10"))
    figure = run_charts.aberrations(record, "ece", "symmetric noise")
    assert [line.name for line in figure.data] == ["ce, zero", "nls, zero"]
    for line, cell in zip(figure.data, aberrant.LEAN, strict=True):
        assert list(line.x) == ["clean", "symmetric 20 %"]  # 40 % was not measured
        entries = [record["conditions"][x]["cells"][cell]["metrics"]["ece"] for x in line.x]
        assert list(line.y) == [entry["mean"] for entry in entries]
        assert list(line.error_y.array) == [e["high"] - e["mean"] for e in entries]
    assert list(run_charts.aberrations(record, "nll").data[0].x) == [
        "clean", "symmetric 20 %", "long tail 10",
    ]  # fmt: skip
    assert run_charts.aberrations({}, "accuracy").layout.annotations[0].text == "not measured yet"
