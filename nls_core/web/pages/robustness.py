"""The page *Robustness*: what is left under attack, and whether the attacks can be believed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import masking, report, robustness, verdicts
from nls_core.evidence.cells import Cells, Table, label, percent
from nls_core.evidence.verdicts import Evidence
from nls_core.views import evidence_charts, html
from nls_core.web.pages import family_reports
from nls_core.web.pages.family_reports import Where
from nls_core.web.pages.widgets import PRIVATE, explained, intro, no_report, note

INTRO = """White-box attacks see the gradient; Square sees only answers; transfer shows one model
the images made against another. A defence that only hides its gradient looks strong to the first
and weak to the others: so all stand side by side, and the worst of all for each image is what
counts."""
READ = """<b>How it is read.</b> ε bounds the change of every pixel (L∞, pixels in [0, 1]). A
figure of one seed rests on {images} test images: its standard error is up to {error:.1f} points.
{attacks}. The verdict <i>masking</i> means that a named sign was seen in at least one run
(arXiv 1802.00420, 2009.08233): {signs}."""


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Robustness", INTRO)
    names = family_reports.families(analyzer, family_reports.has("robust", "masking"))
    if not names:
        no_report()
        return
    folder = analyzer.settings.models_dir
    cells, start = choices((names[0], folder))
    with gr.Row():
        family = family_reports.menu(names)
        shown = gr.Dropdown(cells, value=start, multiselect=True, label="Models")
        attack = gr.Dropdown(attacks((names[0], folder)), value=robustness.WORST, label="Attack")
        one = gr.Dropdown(cells, value=cells[0], label="Every attack on")
        epsilon = gr.Dropdown(report.epsilon_keys(), value="4", label="Transfer at ε (1/255)")
    with gr.Row():
        accuracy, every = (gr.Plot(show_label=False, min_width=300) for _ in range(2))
    with gr.Row():
        error, transfer = (gr.Plot(show_label=False, min_width=300) for _ in range(2))
    gr.HTML("<p class=nls-cue>Accuracy under the worst attack, in %, and signs of masking</p>")
    table = gr.HTML(elem_id="masking")
    read = note(how_to_read(verdicts.read(names[0], folder)))
    hidden: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
    family.input(partial(other, folder), family, [shown, one, read], **hidden)
    for inputs, work, output in (
        ([shown, attack], _accuracy, accuracy),
        ([one], _every, every),
        ([shown], _error, error),
        ([epsilon], _transfer, transfer),
        ([], _masking, table),
    ):
        gr.on(None, partial(work, folder), [family, *inputs], output, **hidden)


def choices(where: Where) -> tuple[list[str], list[str]]:
    """The attacked cells of a family, and those that are shown first: without partial padding."""
    cells = family_reports.cells(*where, attacked=True)
    return cells, [c for c in cells if c.endswith("-zero")] or cells


def attacks(where: Where) -> list[str]:
    """The attacks that a family's report has, in its order."""
    evidence = family_reports.load(*where).evidence
    measured = {case for cell in evidence.cells.values() for case in cell.get("robust", {})}
    return [case for case in evidence.record["data"]["attacks"] if case in measured]


def other(folder: Path, family: str) -> list[Any]:
    """Fill the menus for another family, and say what its figures rest on."""
    cells, start = choices((family, folder))
    read = explained(how_to_read(verdicts.read(family, folder)))
    return [gr.update(choices=cells, value=start), gr.update(choices=cells, value=cells[0]), read]


def how_to_read(evidence: Evidence) -> str:
    """What the figures rest on, in words."""
    images = evidence.record["data"]["attacked_images"]
    attacks = "; ".join(
        f"<i>{name}</i>: {text}" for name, text in evidence.record["data"]["attacks"].items()
    )
    signs = "; ".join(f"<i>{name}</i>: {text}" for name, text in masking.SIGNS.items())
    return READ.format(images=images, error=50 / images**0.5, attacks=attacks, signs=signs)


def _cells(folder: Path, family: str) -> Cells:
    return family_reports.load(family, folder).evidence.cells


def _accuracy(folder: Path, family: str, cells: list[str], attack: str) -> Any:
    return evidence_charts.over_epsilon(_cells(folder, family), attack, cells)


def _every(folder: Path, family: str, cell: str) -> Any:
    every = _cells(folder, family)
    return evidence_charts.attacks_of(every, cell) if cell in every else gr.skip()


def _error(folder: Path, family: str, cells: list[str]) -> Any:
    return evidence_charts.error_over_epsilon(_cells(folder, family), cells)


def _transfer(folder: Path, family: str, epsilon: str) -> Any:
    return evidence_charts.transfer(_cells(folder, family), epsilon)


def _masking(folder: Path, family: str) -> str:
    return html.table(masking_table(family_reports.load(family, folder).evidence))


def masking_table(evidence: Evidence) -> Table:
    """Accuracy under the worst attack in %, and the verdict on masking with what it rests on."""
    keys = report.epsilon_keys()
    head = ["model", "runs", *(f"{key}/255" for key in keys), "masking", "signs (runs)",
            "no gradient %", "at 128/255 %"]  # fmt: skip
    rows = []
    for cell, found in evidence.cells.items():
        if "masking" not in found:
            continue
        verdict = found["masking"]
        signs = ", ".join(verdict["signs"]) or "none"
        rows.append(
            [
                label(cell),
                str(verdict["runs"]),
                *(percent(found["robust"][robustness.WORST][key], 1) for key in keys),
                verdict["verdict"],
                f"{signs} ({verdict['runs_with_signs']})",
                percent(verdict["zero_gradient"], 1),
                percent(verdict["far"], 1),
            ]
        )
    return [head, *rows]
