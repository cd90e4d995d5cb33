"""This project's own claims: what the smoothing does, and the loss that it proposes."""

from __future__ import annotations

import math

from nls_core.evidence.cells import BASE, Cells, Table, gap, label, metric, number, ordered, percent
from nls_core.evidence.robustness import WORST
from nls_core.evidence.verdicts import (
    HOLDS,
    NOT,
    UNDECIDED,
    Evidence,
    Finding,
    conditions,
    of_conditions,
)

OWN = "nls_ls-zero"


def smoothing(evidence: Evidence) -> Finding:
    """What the paper does not say: the smoothing is cancelled by the normalization."""
    found = evidence.ablations.get("ablations", {})
    rows = [
        [
            row["loss"],
            f"{row['smoothing']:g}",
            f"{row['lr']:g}",
            f"{100 * row['val_accuracy']:.2f}",
            f"{100 * row['val_ece']:.2f}",
            f"{100 * row['val_confidence']:.2f}",
        ]
        for name in ("smoothing of nls", "smoothing of ls")
        for row in found.get(name, [])
    ]
    spans = {}
    for loss in ("nls", "ls"):
        values = [100 * row["val_confidence"] for row in found.get(f"smoothing of {loss}", [])]
        if len(values) > 1:
            spans[loss] = max(values) - min(values)
    text = (
        "nls = (1-s)·NCE + s/K (arXiv 2006.13554): s only rescales the step. With the learning "
        "rate divided by (1-s), runs of one seed should end alike for every s, up to rounding. "
    ) + " ".join(f"The mean confidence of `{k}` spans {v:.2f} points." for k, v in spans.items())
    result = UNDECIDED
    if len(spans) == 2:
        result = HOLDS if spans["nls"] < spans["ls"] / 5 else NOT
    return Finding(
        "smoothing",
        "The smoothing s does nothing in the normalized loss but scale its step.",
        result,
        text,
        [["loss", "s", "learning rate", "accuracy %", "ECE-15 %", "confidence %"], *rows],
        str(evidence.ablations.get("command", "")),
    )


def own_loss(evidence: Evidence) -> Finding:
    """This project's aim, as docs/rules.md fixed it before the runs."""
    cells = evidence.cells
    met = _conditions(cells) if OWN in cells and BASE in cells else {}
    mine, accuracy = metric(cells, OWN, "ece"), metric(cells, OWN, "accuracy")
    reached = (
        f" It has an ECE of {percent(mine)} % (`ce`: {percent(metric(cells, BASE, 'ece'))} "
        f"%) at {gap(accuracy)} points of accuracy. {conditions(met)}"
        if met
        else ""
    )
    text = (
        "`nls_ls` is nls + λ·ls: the second term is not divided, so its smoothing counts. The "
        "aim is that of docs/rules.md, and holds where all of its conditions are met." + reached
    )
    head = ["cell", "seeds", "accuracy %", "difference to ce-zero", "ECE-15 %", "best T"]
    return Finding(
        "own-loss",
        "A sum of both keeps the accuracy of ce and calibrates.",
        of_conditions(met),
        text,
        [head, *_tradeoff_rows(cells)],
        evidence.record["command"],
    )


def _conditions(cells: Cells) -> dict[str, bool]:
    """Each condition of the aim, and whether the interval that it names meets it."""

    def end(name: str, key: str, which: str) -> float:
        value = (metric(cells, OWN, name) or {}).get(key, {}).get(which)
        return math.nan if value is None else float(value)  # no interval meets nothing

    worst = cells[OWN].get("robust", {}).get(WORST, {})
    ahead = [(worst.get(key, {}).get("vs_ce_zero") or {}).get("low") for key in ("2", "4")]
    ece = (metric(cells, OWN, "ece") or {}).get("high")
    return {
        "accuracy at most 0.3 points below": end("accuracy", "vs_ce_zero", "low") > -0.003,
        "ECE at most 1.0 %": ece is not None and ece <= 0.01,
        "ECE at most a third": end("ece", "vs_third_of_ce_zero", "high") <= 0,
        "AURC at most 0.05 points above": end("aurc", "vs_ce_zero", "high") <= 0.0005,
        "accuracy under attack above at 2 and 4/255": all(low and low > 0 for low in ahead),
        "no sign of masking": not cells[OWN].get("masking", {"signs": [""]})["signs"],
    }


def _tradeoff_rows(cells: Cells) -> Table:
    """Accuracy and calibration of the cells that the own loss is made of, and of the baseline."""
    return [
        [
            label(cell),
            str(len(cells[cell]["seeds"])),
            percent(metric(cells, cell, "accuracy")),
            gap(metric(cells, cell, "accuracy")),
            percent(metric(cells, cell, "ece")),
            number(metric(cells, cell, "temperature")),
        ]
        for cell in summed(cells)
    ]


def summed(cells: Cells) -> list[str]:
    """The cells of the own loss, of what it is made of, and of the baseline."""
    return [cell for cell in ordered(cells) if cell.startswith(("ce-", "nls_ls-", "nls-", "ls-"))]
