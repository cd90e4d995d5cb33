"""The page *Calibration*: is confidence deserved, with and without a temperature?"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from nls_core.analysis.analyzer import Analyzer
from nls_core.data.corruptions import CORRUPTIONS
from nls_core.evidence import verdicts
from nls_core.evidence.cells import BASE, TEMPERED, Cells, gap, label, number, percent
from nls_core.metrics import calibration, conformal
from nls_core.metrics.recalibration import RECALIBRATIONS, crossfitted
from nls_core.metrics.temperature import with_temperature
from nls_core.views import analysis_charts, cell_style, html, run_charts
from nls_core.web.pages import family_reports
from nls_core.web.pages.contents import ARRIVE, Contents
from nls_core.web.pages.family_reports import Where
from nls_core.web.pages.widgets import PRIVATE, intro, no_report, note

INTRO = """A model is calibrated when, of the answers it gives with 80 % confidence, 80 % are right.
Bars on the dotted line are what one wants; below it the model is overconfident. Divide the logits
by a temperature T and see what one number can repair."""
PARTS = Contents(
    "/ui/calibration",
    {
        "diagrams": "Reliability diagrams",
        "figures": "Figures over all seeds, and under shift",
        "read": "How it is read",
        "without-training": "What can be had without training",
    },
)
OWN = "the T of the slider"
MODES = {
    "as trained (T = 1)": "one",
    "each with its fitted T": "fitted",
    OWN: "own",
} | {each.title: name for name, each in RECALIBRATIONS.items() if name != "temperature"}
PLAIN = ("brier", "nll")  # not shares
NAMES = {
    "ece": "ECE-15 %",
    "ece_floor": "noise floor %",
    "ece_debiased": "debiased ECE %",
    "ece_smooth": "smooth ECE %",
    "adaptive_ece": "adaptive ECE %",
    "classwise_ece": "class-wise ECE %",
    "mce": "MCE %",
    "brier": "Brier",
    "nll": "NLL",
}
READ = """The test split decides nothing: T is fitted on the validation
split. Diagrams show the seed that ships, all test images, 15 equal-width bins closed on the
right, with Wilson intervals; the table is the mean ± standard deviation over seeds, its interval a
Student's t over seeds and images. Where models are measured out of fold, each picture is
answered by a network that never saw its object, and the T of the table's 'ce + T' saw all their
answers. 'ce + T' is cross-entropy with its fitted temperature: what a loss has to beat.
<br><b>How much of an ECE is chance?</b> The noise floor is the mean ECE of a model that is right as
often as it says, on as many images (200 draws of the labels from its own probabilities); an ECE
near it says nothing against a model. The debiased ECE has an estimate of that bias taken off
(Kumar et al. 2019, arXiv 1909.10155), the smooth ECE has a kernel instead of bins (Błasiok and
Nakkiran 2023, arXiv 2309.12236)."""


REPAIRED = "; ".join(f"{each.title}, {each.meaning}" for each in RECALIBRATIONS.values())
AFTER = f"""The first table has the ECE-15 that is left
after a recalibration: {REPAIRED}. Each answer is recalibrated by a map that the other half of the
answers taught. AURC is the error rate, averaged over all shares of the answers that one may
withhold: by the confidence, and by the largest logit over a norm of all, where that orders the
other half better (arXiv 2305.15508, 2403.14715).
<br>The second has prediction sets: the classes that cannot be ruled out, so that the true one is
missed in one of twenty pictures at most. By probability (THR, arXiv 1609.00451), cumulated (APS,
arXiv 2006.02544), and with a penalty for size (RAPS, arXiv 2009.14193); the limit comes from the
other half. A set is never empty, so it covers more than asked where a model is right more often."""


def build(analyzer: Analyzer) -> None:
    """Make the page's components."""
    intro("Calibration", INTRO)
    families, folder = family_reports.families(analyzer), analyzer.settings.models_dir
    if not families:
        no_report()
        return
    PARTS.show()
    cells, start = choices((families[0], folder))
    with gr.Row():
        family = family_reports.menu(families)
        shown = gr.Dropdown(cells, value=start, multiselect=True, max_choices=4, label="Models")
        mode = gr.Dropdown(list(MODES), value=next(iter(MODES)), label="Recalibration")
        slider = gr.Slider(0.25, 4, value=1, step=0.05, label="T", elem_id="temperature")
    PARTS.heading("diagrams")
    words = gr.HTML(elem_id="gaps")
    with gr.Row():
        plots = [gr.Plot(show_label=False, min_width=300, visible=i < 2) for i in range(4)]
    PARTS.heading("figures")
    table = gr.HTML(elem_id="calibration-table")
    with gr.Row(visible=_shifted((families[0], folder))) as under_shift:
        corruption = gr.Dropdown(list(CORRUPTIONS), value="noise", label="Under shift")
    with gr.Row():
        shifted = [gr.Plot(show_label=False, min_width=300) for _ in range(2)]
    PARTS.heading("read")
    note(READ)
    PARTS.heading("without-training")
    note(AFTER)
    after = gr.HTML(elem_id="after-training")
    family.input(partial(other, folder), family, shown, show_progress="hidden", **PRIVATE)
    # whoever moves the slider wants its T
    slider.input(lambda: OWN, None, mode, show_progress="hidden", **PRIVATE)
    gr.on(
        None,
        lambda family, *chosen: show((family, folder), *chosen),
        [family, shown, mode, slider],
        [words, *plots],
        trigger_mode="always_last",
        show_progress="minimal",  # some recalibrations take a second for each model
        show_progress_on=words,
        **PRIVATE,
    )
    gr.on(
        None,
        lambda family, *chosen: show_shift((family, folder), *chosen),
        [family, shown, corruption],
        [table, under_shift, *shifted, after],
        show_progress="hidden",
        **PRIVATE,
    ).then(None, js=ARRIVE, **PRIVATE)


def choices(where: Where) -> tuple[list[str], list[str]]:
    """The cells of a family, and those that are shown first."""
    cells = family_reports.cells(*where)
    return cells, family_reports.start(where[0], cells, where[1])


def _shifted(where: Where) -> bool:
    """Whether a family was measured on corrupted images."""
    cells = verdicts.read(*where).cells.values()
    return any("ece_shift" in cell["metrics"] for cell in cells)


def other(folder: Path, family: str) -> Any:
    """Fill the menu of models for another family."""
    cells, start = choices((family, folder))
    return gr.update(choices=cells, value=start)


@lru_cache(maxsize=16)
def _recalibrated(name: str, logits: Tensor, labels: Tensor, per: int) -> Tensor:
    """As `crossfitted`, which takes a second: kept for the tensors that reports hold."""
    return crossfitted(name, logits, labels, per=per)


def probabilities(where: Where, cell: str, mode: str, own: float) -> tuple[Tensor, str]:
    """What a cell's shipped seed says (N, K), recalibrated by one of `MODES`, and how in words."""
    data = family_reports.load(*where)
    run = data.run(cell)
    t = {"one": 1.0, "fitted": float(run.found["temperature"]), "own": own}.get(MODES[mode])
    if t is None:
        return _recalibrated(MODES[mode], run.logits, data.labels, data.renderings), mode
    return with_temperature(run.logits, t), f"T = {t:.2f}"


def measured(probs: Tensor, labels: Tensor) -> tuple[calibration.Reliability, dict[str, float]]:
    """The diagram and the figures of some answers."""
    found = {name: calibration.METRICS[name](probs, labels) for name in ("accuracy", "ece", "nll")}
    found["confidence"] = float(probs.amax(1).mean())
    return calibration.reliability(probs, labels), found


@torch.no_grad()
def show(where: Where, cells: list[str], mode: str, own: float) -> list[Any]:
    """The sentences and up to four diagrams; plots that are not needed are hidden."""
    data = family_reports.load(*where)
    sentences, plots = [], []
    for cell in [cell for cell in cells if cell in data.runs][:4]:  # not those of another family
        probs, how = probabilities(where, cell, mode, own)
        bins, found = measured(probs, data.labels)
        sentences.append(sentence(cell, how, found))
        chart = analysis_charts.reliability_bars(bins, f"{cell}, {how}", cell_style.colour(cell))
        plots.append(gr.update(value=chart, visible=True))
    plots += [gr.update(visible=False)] * (4 - len(plots))
    text = "".join(f"<p class=nls-explain>{each}</p>" for each in sentences)
    return [text or "<p class=nls-explain>Choose a model.</p>", *plots]


def sentence(cell: str, how: str, found: dict[str, float]) -> str:
    """Confidence against accuracy, in words."""
    over = found["confidence"] - found["accuracy"]
    kind = "overconfident" if over > 0 else "underconfident"
    return (
        f"<b>{label(cell)}</b>, {how}: {kind} by {100 * abs(over):.1f} points "
        f"(confidence {100 * found['confidence']:.1f} %, "
        f"accuracy {100 * found['accuracy']:.1f} %); "
        f"ECE-15 {100 * found['ece']:.2f} %, NLL {found['nll']:.4f}."
    )


def show_shift(where: Where, cells: list[str], corruption: str) -> list[Any]:
    """Both tables over seeds; whether there is shift; accuracy and ECE over severity."""
    data = family_reports.load(*where)
    every = data.evidence.cells
    cells = [cell for cell in cells if cell in data.runs]  # not those of another family
    tempered = [f"{TEMPERED}-{c.removeprefix('ce-')}" for c in cells if c.startswith("ce-")]
    listed = [*cells, *(c for c in tempered if c in every)]
    # a report of an older version lacks some
    names = [name for name in NAMES if any(name in every[c]["metrics"] for c in listed)]
    head = ["model", "seeds", *(NAMES[name] for name in names), f"ECE: difference to {BASE}"]
    rows = []
    for cell in listed:
        found = every[cell]["metrics"]
        values = [
            number(found.get(name), 4) if name in PLAIN else percent(found.get(name))
            for name in names
        ]
        rows.append([label(cell), str(len(every[cell]["seeds"])), *values, gap(found["ece"])])
    table, after = html.table([head, *rows]), after_training(every, cells)
    if not any("shift" in data.run(cell).found for cell in cells):
        return [table, gr.update(visible=False), *[gr.update(visible=False)] * 2, after]
    plots = [
        run_charts.under_shift(data.runs, corruption, key, cells) for key in ("accuracy", "ece")
    ]
    shown = [gr.update(value=plot, visible=True) for plot in plots]
    return [table, gr.update(visible=True), *shown, after]


def after_training(every: Cells, cells: list[str]) -> str:
    """The tables of what can be had without training; nothing where the report has none."""
    known = {cell: kept for cell in cells if (kept := every[cell].get("after_training"))}
    if not known:
        return ""
    titles = [f"{each.title} %" for each in RECALIBRATIONS.values()]
    repaired = [["model", "ECE as trained %", *titles, "AURC %", "AURC, best norm %"]]
    sets = [["model", *(f"{name.upper()}: true class inside %, size" for name in conformal.SCORES)]]
    for cell, kept in known.items():
        eces = [kept["recalibrated"].get(name, {}).get("ece") for name in RECALIBRATIONS]
        risks = [kept["selective"][name]["aurc"] for name in ("confidence", "normalized")]
        shares = [every[cell]["metrics"]["ece"], *eces, *risks]
        repaired.append([label(cell), *map(percent, shares)])
        found = [kept["sets"].get(name, {}) for name in conformal.SCORES]
        pairs = [(percent(s.get("coverage"), 1), number(s.get("size"), 2)) for s in found]
        sets.append([label(cell), *map(", ".join, pairs)])
    return html.table(repaired) + html.table(sets)
