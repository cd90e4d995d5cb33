"""Cells of a report: their names and order, and their figures as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nls_core.evidence import report

LOSSES = ("ce", report.TEMPERED, "ls", "nls", "nls_ls", "focal")
NAMES = {report.TEMPERED: "ce + T", "nls_ls": "nls + λ·ls"}
PADDINGS = ("zero", "partial")

Cells = Mapping[str, Mapping[str, Any]]
Table = list[list[str]]


def percent(entry: Mapping[str, Any] | None, digits: int = 2) -> str:
    """Mean ± sd in per cent."""
    return number(entry, digits, 100.0)


def number(entry: Mapping[str, Any] | None, digits: int = 3, scale: float = 1.0) -> str:
    """Mean ± sd; '-' where nothing was measured."""
    if entry is None:
        return "-"
    spread = "" if entry["sd"] is None else f" ± {scale * entry['sd']:.{digits}f}"
    return f"{scale * entry['mean']:.{digits}f}{spread}"


def gap(entry: Mapping[str, Any] | None, key: str = "vs_ce_zero", scale: float = 100.0) -> str:
    """A difference with its 95 % interval: '-1.20 [-1.50, -0.90]'."""
    found = (entry or {}).get(key)
    if not found:
        return "-"
    middle = f"{scale * found['difference']:+.2f}"
    if found["low"] is None:
        return middle
    return f"{middle} [{scale * found['low']:+.2f}, {scale * found['high']:+.2f}]"


def label(cell: str) -> str:
    """A cell's name for people: 'nls, partial padding'."""
    loss, padding = cell.rsplit("-", 1)
    return f"{NAMES.get(loss, loss)}, {padding}"


def ordered(cells: Cells) -> list[str]:
    """The cells of a report in the order of tables."""
    names = [f"{loss}-{padding}" for loss in LOSSES for padding in PADDINGS]
    return [name for name in names if name in cells]


def metric(cells: Cells, cell: str, name: str) -> Mapping[str, Any] | None:
    """A cell's entry for a metric, None where it was not measured."""
    entry: Mapping[str, Any] | None = cells.get(cell, {}).get("metrics", {}).get(name)
    return entry
