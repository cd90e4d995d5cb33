"""The paper's claims against the evidence, each with its verdict, sentence and table.

No figure is written here: each is taken from the reports, so that pages and documents say what
was measured, also when it is measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nls_core.evidence.cells import (
    TEMPERED,
    WITH_T,
    Cells,
    Table,
    gap,
    label,
    metric,
    number,
    ordered,
    percent,
)
from nls_core.evidence.robustness import CASES, WORST
from nls_core.evidence.stored_runs import THRESHOLDS
from nls_core.evidence.verdicts import (
    HOLDS,
    MARGINS,
    PARTLY,
    Endpoint,
    Evidence,
    Finding,
    endpoint,
    outcomes,
    verdict,
)
from nls_core.padding import PADDINGS


def calibration(evidence: Evidence) -> Finding:
    """Claim 1: normalized soft labels calibrate."""
    cells = evidence.cells
    endpoints = [
        endpoint(cells, f"nls-{padding}", name)
        for name in _calibrating(cells)
        for padding in PADDINGS
        if f"nls-{padding}" in cells
    ]
    fair = {"ece_floor": "noise floor %", "ece_debiased": "debiased %", "ece_smooth": "smooth %"}
    head = ["cell", "seeds", "accuracy %", "ECE-15 %", "difference to ce-zero", *fair.values(),
            "with one T %", "NLL", "Brier", "AURC %"]  # fmt: skip
    rows = [
        [
            label(cell),
            str(len(cells[cell]["seeds"])),
            percent(metric(cells, cell, "accuracy")),
            percent(metric(cells, cell, "ece")),
            gap(metric(cells, cell, "ece")),
            *(percent(metric(cells, cell, name)) for name in fair),
            percent(metric(cells, cell, f"ece{WITH_T}")),
            number(metric(cells, cell, "nll"), 4),
            number(metric(cells, cell, "brier"), 4),
            percent(metric(cells, cell, "aurc")),
        ]
        for cell in ordered(cells)
    ]
    ece = {loss: percent(metric(cells, f"{loss}-zero", "ece")) for loss in ("ce", "ls", "nls")}
    tempered = percent(metric(cells, f"{TEMPERED}-zero", "ece"))
    text = (
        f"As trained, `nls` has an ECE of {ece['nls']} % and `ce` one of {ece['ce']} % (zero "
        f"padding); `ls` has {ece['ls']} %. One temperature fitted on the validation split brings "
        f"`ce` to {tempered} %, so whoever may calibrate afterwards needs no new loss. The noise "
        "floor is the ECE of a model that is right as often as it says; the debiased ECE (arXiv "
        "1909.10155) has its bias taken off, the smooth one (arXiv 2309.12236) needs no bins. "
        f"{outcomes(endpoints)}"
    )
    return Finding(
        "calibration",
        "Normalized soft labels calibrate.",
        verdict(endpoints),
        text,
        [head, *rows],
        evidence.record["command"],
    )


def _calibrating(cells: Cells) -> list[str]:
    """The measures that the claim looks at; shift is not measured by every protocol."""
    measured = any("ece_shift" in cell["metrics"] for cell in cells.values())
    return ["ece", "nll", "brier", "aurc", *(["ece_shift"] if measured else [])]


def robustness(evidence: Evidence) -> Finding:
    """Claim 2: they resist adversarial attacks."""
    cells = evidence.cells
    attacked = [cell for cell in ordered(cells) if "robust" in cells[cell]]
    keys = evidence.record["data"]["epsilons_255"]
    rows = [
        [
            label(cell),
            str(cells[cell]["robust"][WORST][keys[0]]["n"]),
            *(percent(cells[cell]["robust"][WORST][key], 1) for key in keys),
            cells[cell].get("masking", {}).get("verdict", "not tested"),
        ]
        for cell in attacked
    ]
    nls = cells.get("nls-zero", {}).get("robust", {}).get(WORST, {})
    endpoints = [
        Endpoint(f"{key}/255", nls[key].get("vs_ce_zero"), 1, MARGINS["robust"])
        for key in keys
        if key in nls
    ]
    found = verdict(endpoints)
    tested = [cell for cell in attacked if "masking" in cells[cell]]
    masked = [label(cell) for cell in tested if cells[cell]["masking"]["signs"]]
    if found == HOLDS and label("nls-zero") in masked:
        found = PARTLY
    images = evidence.record["data"]["attacked_images"]
    text = f"Accuracy under the worst attack for each of {images} test images. "
    if nls:
        text += _under_attack(nls, keys)
    text += outcomes(endpoints) if attacked else "No cell was attacked."
    text += _masked(masked) if tested else ""
    text += _left_out(cells) + _not_met(cells, attacked) if attacked else ""
    return Finding(
        "robustness",
        "Normalized soft labels resist adversarial attacks better.",
        found,
        text,
        [["cell", "seeds", *(f"{key}/255" for key in keys), "masking"], *rows],
        evidence.record["command"],
    )


def _under_attack(nls: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> str:
    """What `nls` keeps under the worst attack, ε of `keys` -> entry, as two sentences."""
    gaps = "; ".join(f"{key}/255: {gap(nls.get(key))}" for key in keys)
    return (
        f"`nls` (zero padding) against `ce-zero`, in points: {gaps}. At {keys[-1]}/255 `nls` "
        f"keeps {100 * nls[keys[-1]]['mean']:.1f} %: smoothed losses shift the curve, they do not "
        "make a network robust. "
    )


def _masked(cells: Sequence[str]) -> str:
    """Which cells show a sign of gradient masking, as a sentence."""
    if not cells:
        return " No cell shows a sign of gradient masking."
    return f" Signs of gradient masking: {'; '.join(cells)}."


def _left_out(cells: Cells) -> str:
    """Which cells have no run that met all attacks, as a sentence."""
    left = [
        label(cell)
        for cell in ordered(cells)
        if "robust" not in cells[cell] and not cell.startswith(TEMPERED)
    ]
    return f" Without a run that met all attacks: {'; '.join(left)}." if left else ""


def _not_met(cells: Cells, attacked: Sequence[str]) -> str:
    """Which attacks of now no run has met: without them the worst case flatters. A sentence."""
    missing = [case for case in CASES if not any(case in cells[c]["robust"] for c in attacked)]
    if not missing:
        return ""
    named = " and ".join(f"`{case}`" for case in missing)
    return (
        f" No run has met {named} yet, which find more, and of some losses much more: see the "
        "attacks in docs/training.md."
    )


def generalization(evidence: Evidence) -> Finding:
    """Claim 3: they generalize."""
    cells = evidence.cells
    names = ("accuracy_shift", "ece_shift", "ood_auroc_digits", "ood_auroc_noise")
    head = [
        "cell",
        "accuracy: difference to ce-zero",
        "accuracy under shift %",
        "ECE-15 under shift %",
        "OOD AUROC digits %",
        "OOD AUROC noise %",
    ]
    rows = [
        [
            label(cell),
            gap(metric(cells, cell, "accuracy")),
            *(percent(metric(cells, cell, name)) for name in names),
        ]
        for cell in ordered(cells)
        if metric(cells, cell, "accuracy_shift")
    ]
    endpoints = [endpoint(cells, "nls-zero", name) for name in ("accuracy", "accuracy_shift")]
    text = (
        f"In accuracy `nls` differs from `ce-zero` by {gap(metric(cells, 'nls-zero', 'accuracy'))} "
        f"points with zero and {gap(metric(cells, 'nls-partial', 'accuracy'))} with partial "
        f"padding; `ls` by {gap(metric(cells, 'ls-zero', 'accuracy'))} with zero padding. Under "
        "shift means the mean over six corruptions at five severities; foreign images are "
        f"handwritten digits and uniform noise, told apart by confidence. {outcomes(endpoints)}"
    )
    return generalizing(evidence, endpoints, text, [head, *rows])


def generalizing(
    evidence: Evidence, endpoints: Sequence[Endpoint], text: str, table: Table
) -> Finding:
    """Claim 3, by the endpoints that a protocol has."""
    return Finding(
        "generalization",
        "Normalized soft labels generalize better.",
        verdict(endpoints),
        text,
        table,
        evidence.record["command"],
    )


def convergence(evidence: Evidence) -> Finding:
    """Claim 4: partial convolution converges faster."""
    cells = evidence.cells
    names = [f"epochs_to_{share}" for share in THRESHOLDS]
    head = ["cell", *(f"epochs to {share} %" for share in THRESHOLDS), "mean over epochs %",
            "mean: partial - zero", "accuracy: partial - zero"]  # fmt: skip
    rows = [
        [
            label(cell),
            *(number(metric(cells, cell, name), 1) for name in names),
            percent(metric(cells, cell, "curve_area")),
            gap(metric(cells, cell, "curve_area"), "vs_zero_padding"),
            gap(metric(cells, cell, "accuracy"), "vs_zero_padding"),
        ]
        for cell in ordered(cells)
        if metric(cells, cell, "curve_area")
    ]
    endpoints = [
        replace(endpoint(cells, f"{loss}-partial", "curve_area", "vs_zero_padding"), name=loss)
        for loss in ("ce", "ls", "nls")
    ]
    text = (
        "Validation accuracy after each epoch: the first epoch at 85, 88 and 90 %, and the mean "
        "over all epochs (the area under the curve). "
    ) + " ".join(
        f"A training step with partial padding takes {row['ratio']:.2f} times as long "
        "(`nls bench`, medians of one run)."
        for row in evidence.bench
        if row["second"] == "partial padding"
    )
    text += (
        " The paper's published code has another partial convolution: one factor for the whole "
        "input, which batch norm divides out again, so that it is zero padding up to rounding. Its "
        "ResNet leaves the max-pool out, too: what converges faster there, and has finer maps, has "
        f"a last map of 14x14 instead of 7x7 (measured in docs/training.md). {outcomes(endpoints)}"
    )
    return Finding(
        "convergence",
        "Partial-convolution padding converges faster.",
        verdict(endpoints),
        text,
        [head, *rows],
        evidence.record["command"],
    )
