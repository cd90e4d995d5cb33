"""Cells of a report: their names and order, and their figures as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nls_core import losses
from nls_core.padding import PADDINGS

BASE = "ce-zero"  # with which cells are compared
TEMPERED = "ce_temperature"  # the loss's name in cells that are ce with its temperature
WITH_T = "_with_t"  # of metrics after one temperature, fitted on the validation split
NAMES = {
    TEMPERED: "ce + T",
    "nls_ls": "nls + λ·ls",
    "nce_rce": "NCE + RCE",
    "ls_tuned": "ls, tuned s",
    "focal_tuned": "focal, tuned γ",
    "ce_decay": "ce, more decay",
    "ce_early": "ce, best NLL",
    "ce_matched": "ce, lr·wd of nls",
    "nls_matched": "nls, lr·wd of ce",
    "mbls": "ce + margin (MbLS)",
}

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


def parts(cell: str) -> tuple[str, str]:
    """The loss and the padding of `<loss>-<padding>`; both may have hyphens themselves."""
    known = [each for each in PADDINGS if cell.endswith(f"-{each}")]
    padding = max(known, key=len) if known else cell.rpartition("-")[2]
    return cell.removesuffix(f"-{padding}"), padding


def label(cell: str) -> str:
    """A cell's name for people: 'nls, partial padding'."""
    loss, padding = parts(cell)
    return f"{NAMES.get(loss, loss)}, {padding}"


def ordered(cells: Cells) -> list[str]:
    """All cells of a report in the order of tables: that of the registries, then the unknown."""
    places = {loss: float(place) for place, loss in enumerate(losses.LOSSES)}
    places[TEMPERED] = places["ce"] + 0.5
    paddings = {padding: place for place, padding in enumerate(PADDINGS)}

    def key(cell: str) -> tuple[float, str, int, str]:
        loss, padding = parts(cell)
        place = places.get(loss, len(places))
        return place, loss, paddings.get(padding, len(paddings)), padding

    return sorted(cells, key=key)


def metric(cells: Cells, cell: str, name: str) -> Mapping[str, Any] | None:
    """A cell's entry for a metric, None where it was not measured."""
    entry: Mapping[str, Any] | None = cells.get(cell, {}).get("metrics", {}).get(name)
    return entry
