"""The page *Robustness*: what is left under attack, and whether the attacks can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from nls_core.analysis.analyzer import Analyzer
from nls_core.evidence import masking, robustness, verdicts
from nls_core.evidence.cells import Cells, Table, label, percent
from nls_core.evidence.verdicts import Evidence
from nls_core.views import evidence_charts, html
from nls_core.web.pages import family_reports
from nls_core.web.pages.contents import ARRIVE, Contents
from nls_core.web.pages.family_reports import Where
from nls_core.web.pages.widgets import PRIVATE, explained, intro, note

INTRO = """White-box attacks see the gradient; Square sees only answers; transfer shows one model
the images made against another. A defence that only hides its gradient looks strong to the first
and weak to the others: so all stand side by side, and the worst of all for each image is what
counts."""
PARTS = Contents(
    "/ui/robustness",
    {
        "accuracy": "Accuracy and calibration under attack",
        "worst": "The worst attack, and signs of masking",
        "read": "How it is read",
    },
)
READ = """ε bounds the change of every pixel (L∞, pixels in [0, 1]). A
figure of one seed rests on {images} test images: its standard error is up to {error:.1f} points.
{attacks}."""
SIGNS_READ = """ The verdict <i>masking</i> means that the whole 95 % interval of a named sign, over
runs and images, lies above its limit (arXiv 1802.00420, 2009.08233): {signs}."""


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Robustness", INTRO)
    opening = family_reports.opening(analyzer, family_reports.has("robust"), attacked=True)
    if opening is None:
        return
    folder, family, shown = analyzer.settings.models_dir, opening.family, opening.models
    where = (opening.name, folder)
    with opening.row:
        attack = gr.Dropdown(**attack_menu(where), label="Attack")
        one = gr.Dropdown(opening.cells, value=opening.cells[0], label="Every attack on")
        epsilon = gr.Dropdown(**strength_menu(where), label="Transfer at ε (1/255)")
    PARTS.show()
    PARTS.heading("accuracy")
    with gr.Row():
        accuracy, every = (gr.Plot(show_label=False, min_width=300) for _ in range(2))
    with gr.Row():
        error, transfer = (gr.Plot(show_label=False, min_width=300) for _ in range(2))
    PARTS.heading("worst")
    gr.HTML("<p class=nls-cue>Accuracy under the worst attack, in %</p>")
    table = gr.HTML(elem_id="masking")
    PARTS.heading("read")
    read = note(how_to_read(verdicts.read(opening.name, folder)))
    hidden: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
    family.input(partial(other, folder), family, [shown, attack, one, epsilon, read], **hidden)
    for inputs, work, output in (
        ([shown, attack], _accuracy, accuracy),
        ([one], _every, every),
        ([shown], _error, error),
        ([epsilon], _transfer, transfer),
        ([], _masking, table),
    ):
        done = gr.on(None, partial(work, folder), [family, *inputs], output, **hidden)
    done.then(None, js=ARRIVE, **PRIVATE)


def other(folder: Path, family: str) -> list[Any]:
    """Fill the menus for another family, and say what its figures rest on."""
    cells, start = family_reports.choices((family, folder), attacked=True)
    read = explained(how_to_read(verdicts.read(family, folder)))
    return [
        gr.update(choices=cells, value=start),
        gr.update(**attack_menu((family, folder))),
        gr.update(choices=cells, value=cells[0]),
        gr.update(**strength_menu((family, folder))),
        read,
    ]


def _worst(evidence: Evidence) -> str:
    """What counts: the worst of all attacks, where that was made, else the last one."""
    met = list(evidence.attacks)
    return robustness.WORST if robustness.WORST in met else met[-1]


def _strengths(cells: Cells) -> list[str]:
    """The strengths of a family's attacks as its report names them, in 1/255."""
    found = next(cell["robust"] for cell in cells.values() if "robust" in cell)
    return list(next(iter(found.values())))


def attack_menu(where: Where) -> dict[str, Any]:
    """The attacks that a family's models met."""
    evidence = verdicts.read(*where)
    return {"choices": list(evidence.attacks), "value": _worst(evidence)}


def strength_menu(where: Where) -> dict[str, Any]:
    """The strengths of a family's attacks; hidden where no pictures were tried on other models."""
    cells = verdicts.read(*where).cells
    keys = _strengths(cells)
    transfers = any("transfer" in cell for cell in cells.values())
    return {"choices": keys, "value": keys[-2:][0], "visible": transfers}


def how_to_read(evidence: Evidence) -> str:
    """What the figures rest on, in words."""
    images = evidence.record["data"]["attacked_images"]
    attacks = "; ".join(f"<i>{name}</i>: {said}" for name, said in evidence.attacks.items())
    text = READ.format(images=images, error=50 / max(images, 1) ** 0.5, attacks=attacks)
    if not any("masking" in cell for cell in evidence.cells.values()):
        return text
    signs = "; ".join(f"<i>{name}</i>: {text}" for name, text in masking.SIGNS.items())
    return text + SIGNS_READ.format(signs=signs)


def _cells(folder: Path, family: str) -> Cells:
    return family_reports.load(family, folder).evidence.cells


def _accuracy(folder: Path, family: str, cells: list[str], attack: str) -> Any:
    evidence = family_reports.load(family, folder).evidence
    if attack not in evidence.attacks:  # of another family, until the menu is filled
        return gr.skip()
    return evidence_charts.over_epsilon(evidence.cells, attack, cells)


def _every(folder: Path, family: str, cell: str) -> Any:
    every = _cells(folder, family)
    return evidence_charts.attacks_of(every, cell) if cell in every else gr.skip()


def _error(folder: Path, family: str, cells: list[str]) -> Any:
    every = _cells(folder, family)
    chart = evidence_charts.error_over_epsilon(every, cells)
    return gr.update(value=chart, visible=any("attacked" in cell for cell in every.values()))


def _transfer(folder: Path, family: str, epsilon: str) -> Any:
    every = _cells(folder, family)
    if not any("transfer" in cell for cell in every.values()):
        return gr.update(visible=False)
    if epsilon not in _strengths(every):  # of another family, until the menu is filled
        return gr.skip()
    return gr.update(value=evidence_charts.transfer(every, epsilon), visible=True)


def _masking(folder: Path, family: str) -> str:
    return html.table(masking_table(family_reports.load(family, folder).evidence))


def masking_table(evidence: Evidence) -> Table:
    """Accuracy under the worst attack in %, and the verdict on masking with what it rests on.

    'runs' counts those that met the attacks, not all of the cell.
    """
    keys, worst = _strengths(evidence.cells), _worst(evidence)
    attacked = {cell: found for cell, found in evidence.cells.items() if "robust" in found}
    judged = any("masking" in found for found in attacked.values())
    signs = ["masking", "signs (runs)", "no gradient %", "at 128/255 %"] if judged else []
    rows = [["model", "runs", *(f"{key}/255" for key in keys), *signs]]
    for cell, found in attacked.items():
        figures = found["robust"].get(worst, {})
        runs = max((each["n"] for each in figures.values()), default=0)
        left = (percent(figures.get(key), 1) for key in keys)
        shown = _signs(found.get("masking")) if judged else []
        rows.append([label(cell), str(runs), *left, *shown])
    return rows


def _signs(verdict: Mapping[str, Any] | None) -> list[str]:
    """The verdict on masking, the signs that were seen, and two figures of them."""
    if verdict is None:
        return ["-"] * 4
    return [
        verdict["verdict"],
        f"{', '.join(verdict['signs']) or 'none'} ({verdict['runs_with_signs']})",
        percent(verdict["zero_gradient"], 1),
        percent(verdict["far"], 1),
    ]
