"""The benchmark's arithmetic; its timings are nobody's pass or fail."""

from __future__ import annotations

import time

from nls_core.analysis import bench
from nls_core.analysis.analyzer import Analyzer
from tests.conftest import picture_bytes


def test_a_ratio_is_second_over_first() -> None:
    row = bench.compare(
        "sleep", ("short", lambda: time.sleep(0.002)), ("long", lambda: time.sleep(0.02)), 3
    )
    assert row.second_ms > row.first_ms
    assert row.ratio == round(row.second_ms / row.first_ms, 3) or row.ratio > 1


def test_every_comparison_runs(analyzer: Analyzer) -> None:
    rows = bench.run(analyzer, picture_bytes(), rounds=1)
    assert len(rows) == 4
    assert all(isinstance(row["ratio"], float) and row["ratio"] > 0 for row in rows)
