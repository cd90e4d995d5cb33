"""This project's own claims: what the smoothing does, and the loss that it proposes."""

from __future__ import annotations

from nls_core.evidence.cells import Cells, Table, gap, label, metric, number, ordered, percent
from nls_core.evidence.verdicts import HOLDS, NOT, UNDECIDED, Evidence, Finding, verdict


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
    """This project's aim: ce's accuracy (±0.3 points) with at most a third of its ECE."""
    cells = evidence.cells
    mine, base = (metric(cells, f"{loss}-zero", "ece") for loss in ("nls_ls", "ce"))
    accuracy = metric(cells, "nls_ls-zero", "accuracy")
    sides, reached = [], ""
    if mine and base and accuracy:
        difference = accuracy["vs_ce_zero"]["difference"]
        unmasked = not cells["nls_ls-zero"].get("masking", {}).get("signs")
        sides = [
            1 if good else -1
            for good in (difference >= -0.003, mine["mean"] <= base["mean"] / 3, unmasked)
        ]
        reached = (
            f" It reached {mine['mean'] / base['mean']:.2f} of ce's ECE ({percent(mine)} % against "
            f"{percent(base)} %) at {gap(accuracy)} points of accuracy, with "
            f"{'no sign' if unmasked else 'signs'} of masking (zero padding)."
        )
    text = (
        "`nls_ls` is nls + λ·ls: the second term is not divided, so its smoothing counts. The "
        "aim: the accuracy of `ce` (or at most 0.3 points less), at most a third of its ECE, and "
        "no sign of masking." + reached
    )
    head = ["cell", "seeds", "accuracy %", "difference to ce-zero", "ECE-15 %", "best T"]
    return Finding(
        "own-loss",
        "A sum of both keeps the accuracy of ce and calibrates.",
        verdict(sides),
        text,
        [head, *_tradeoff_rows(cells)],
        evidence.record["command"],
    )


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
        for cell in ordered(cells)
        if cell.startswith(("ce-", "nls_ls-", "nls-", "ls-"))
    ]
