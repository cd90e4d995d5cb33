"""The tables that `nls evaluate` prints: of measured models, and of a family's cells in short."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from nls_core.evidence import robustness
from nls_core.evidence.cells import Table, number, percent

HIDDEN = ("images",)


def of_models(models: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Tables of what was measured: single numbers by model, and accuracy under attack."""
    rows: dict[str, dict[str, float]] = {}
    for name, found in models.items():
        values = dict(found.get("metrics", {}))
        if "temperature" in found:
            values["temperature"] = found["temperature"]
        for case, each in found.get("shift", {}).items():
            for key in ("accuracy", "ece"):
                values[f"{key}, {case} (mean of 5)"] = fmean(row[key] for row in each)
        values |= {f"ood auroc, {k}": v for k, v in found.get("ood", {}).items()}
        values |= {f"map {k}": v for k, v in found.get("maps", {}).items()}
        rows[name] = {k: v for k, v in values.items() if k not in HIDDEN}
    names = list(next(iter(rows.values()))) if rows else []
    made = [
        [
            ["metric", *rows],
            *([key, *(_figure(r.get(key)) for r in rows.values())] for key in names),
        ]
    ]
    preset = robustness.AUTOATTACK
    attacked = {n: found for n, found in models.items() if "robust" in found or preset in found}
    if attacked:
        head = ["model", "attack", *(f"{key}/255" for key in robustness.epsilon_keys())]
        made.append([head, *_attack_rows(attacked)])
    return made


def _attack_rows(models: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for name, found in models.items():
        cases = dict(found.get("robust", {}))
        if robustness.AUTOATTACK in found:  # measured by itself
            cases[robustness.AUTOATTACK] = found[robustness.AUTOATTACK]
        cases |= {f"transfer from {k}": v for k, v in found.get("transfer", {}).items()}
        rows += [
            [name, case, *(f"{100 * v:.1f}" for v in values)] for case, values in cases.items()
        ]
        if "masking" not in found:
            continue
        masking = found["masking"]
        signs = ", ".join(masking["signs"]) or "-"
        rows.append(
            [name, f"masking: {masking['verdict']}", signs, *[""] * (len(robustness.EPSILONS) - 1)]
        )
    return rows


def of_cells(cells: Mapping[str, Any]) -> Table:
    """A family's cells in short: mean ± sd of the main figures, in percent."""
    rows = [["cell", "seeds", "accuracy %", "ECE-15 %", "NLL", "worst at 4/255 %", "masking"]]
    for name, cell in cells.items():
        found = cell["metrics"]
        figures = [percent(found.get("accuracy")), percent(found.get("ece"))]
        worst = cell.get("robust", {}).get(robustness.WORST, {}).get("4")
        verdict = cell.get("masking", {}).get("verdict", "-")
        figures += [number(found.get("nll"), 4), percent(worst)]
        rows.append([name, str(len(cell["seeds"])), *figures, verdict])
    return rows


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
