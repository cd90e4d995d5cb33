"""The claim that normalized soft labels help with aberrant data, by the rules of docs/rules.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nls_core.evidence.aberrations import basis
from nls_core.evidence.cells import BASE, Table, gap, label, metric, number, ordered, percent
from nls_core.evidence.verdicts import MARGINS, Endpoint, Evidence, Finding, outcomes, verdict

KEY = "aberrations"
JUDGED = "nls-zero"
CLEAN = "clean"  # the condition that no claim is about
HEAD = ["data", "cell", "seeds", "accuracy %", "difference to ce-zero", "ECE-15 %", "NLL", "AURC %"]


def endpoints(record: Mapping[str, Any]) -> list[Endpoint]:
    """Accuracy of `nls-zero` against `ce-zero` in each condition that was measured."""
    return [
        Endpoint(
            name,
            (metric(condition["cells"], JUDGED, "accuracy") or {}).get("vs_ce_zero"),
            1,
            MARGINS["accuracy"],
        )
        for name, condition in record["conditions"].items()
        if name != CLEAN
    ]


def rows(condition: Mapping[str, Any]) -> Table:
    """A row for each cell of a condition, as `HEAD` names them from 'cell' on."""
    cells = condition["cells"]
    return [
        [
            label(cell),
            str(len(cells[cell]["seeds"])),
            percent(metric(cells, cell, "accuracy")),
            gap(metric(cells, cell, "accuracy")),
            percent(metric(cells, cell, "ece")),
            number(metric(cells, cell, "nll"), 4),
            percent(metric(cells, cell, "aurc")),
        ]
        for cell in ordered(cells)
    ]


def table(record: Mapping[str, Any]) -> Table:
    """All conditions and cells of aberrations.json."""
    found = record["conditions"].items()
    return [HEAD, *([name, *row] for name, condition in found for row in rows(condition))]


def aberrations(evidence: Evidence) -> Finding:
    """The paper's claim about aberrant data; its runs are on record."""
    record = evidence.aberrations
    judged = endpoints(record)
    gaps = "; ".join(f"{each.name}: {gap({'vs_ce_zero': each.gap})}" for each in judged if each.gap)
    text = (
        f"Trained with wrong labels or long-tailed classes ({basis(record)}), which "
        "the validation split has too; the last epoch, on clean test labels. Accuracy of "
        f"`nls` against `ce-zero`, in points: {gaps or 'not measured'}.{_clean(record)}"
        f"{_errors(record)} NCE + RCE is the published control for wrong labels. "
        f"{outcomes(judged)}"
    )
    return Finding(
        KEY,
        "Normalized soft labels help with aberrant data.",
        verdict(judged),
        text,
        table(record),
        str(record["command"]),
    )


def _clean(record: Mapping[str, Any]) -> str:
    """How far apart they are without any aberration: what slow learning alone costs."""
    entry = metric(record["conditions"].get(CLEAN, {}).get("cells", {}), JUDGED, "accuracy")
    if not entry or "vs_ce_zero" not in entry:
        return ""
    return f" On clean data, trained as long, it is {gap(entry)}."


def _errors(record: Mapping[str, Any]) -> str:
    """ECE of both in every condition, which the claim is not about."""
    found = []
    for name, condition in record["conditions"].items():
        mine, base = (metric(condition["cells"], cell, "ece") for cell in (JUDGED, BASE))
        if mine and base:
            found.append(f"{name}: {percent(mine)} and {percent(base)}")
    return f" ECE of `nls` and `ce`, in per cent: {'; '.join(found)}." if found else ""
