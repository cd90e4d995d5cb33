"""The tables of docs/reliability.md, and the script that writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nls_core.settings import ROOT
from nls_core.web.bench.overload import Figure
from nls_core.web.bench.soak import Mark, Soak
from tests.helpers.scripts import script

SCRIPT = script("make_reliability")
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def results() -> dict[str, Any]:
    marks = [Mark(n, 700.0 + n, 1.0, 0, 9, 12, 50) for n in (0, 1000, 10_000)]
    answers = {"analyze": {"200": 4500}, "page": {"0": 1, "200": 1234}}
    figure = Figure("goodput of the peak", 0.95, "", 0.9, "least")
    row = {"name": figure.name, "value": figure.value, "unit": "", "aim": 0.9, "kind": "least"}
    return {
        "soak": Soak(10_000, 8, 900.0, answers, marks, ["it fell"]).to_dict(),
        "overload": [row | {"reached": figure.reached}],
        "rest": {"examples": 500, "seconds": 9.0, "answers": {"GET /healthz": {"200": 1}}},
        "fuzz": {
            "files": 12_345,
            "seconds": 600,
            "branches_of_seeds": 700,
            "branches": 900,
            "kept": 300,
            "peak_mb": 66,
            "status": 0,
        },
    }


def test_every_table_is_written_in_its_place() -> None:
    page = SCRIPT.page(PAGE, results())
    for words in (
        "10,000 visits by 8 clients in 900 s; memory after the first 1,000: +9000.0 MB",
        "failed: it fell",
        "| page | 1 × no answer, 1,234 × 200 |",
        "| goodput of the peak | 0.95 | ≥ 0.9 | yes |",
        "500 examples",
        "12,345 files in 600 s",
        "nothing found",
    ):
        assert words in page
    assert SCRIPT.page(page, results()) == page
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        line for line in PAGE.splitlines() if line.startswith("#")
    ]


def test_tables_without_results_stay(tmp_path: Path) -> None:
    assert SCRIPT.page(PAGE, {}) == PAGE
    with pytest.raises(SystemExit, match="<!-- soak -->"):
        SCRIPT.page("", results())
