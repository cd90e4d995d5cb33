"""Write docs/performance.md from what `nls bench --json` printed, on the machine that ran it.

    nls bench --json > bench.json && python scripts/make_performance.py bench.json

The machine that the page names is the one that this script runs on.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nls_core.evidence import findings
from nls_core.settings import ROOT

PAGE = ROOT / "docs" / "performance.md"
HEAD = ["what", "first", "second", "first ms", "second ms", "second / first", "aim", "reached"]


def row(entry: Mapping[str, Any]) -> list[str]:
    """One comparison: medians with the distance of their quartiles, and what was wanted."""
    aim = entry["aim"]
    times = [f"{entry[f'{way}_ms']} ± {entry[f'{way}_spread_ms']}" for way in ("first", "second")]
    wanted = ["", ""] if aim is None else [f"≤ {aim}", "yes" if entry["ratio"] <= aim else "no"]
    return [entry["name"], entry["first"], entry["second"], *times, str(entry["ratio"]), *wanted]


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page's text."""
    machine = f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return f"""# Speed, as ratios

What `nls bench` measured on {machine}: two ways in turn in one process, medians of several rounds
± the distance between their quartiles. `scripts/make_performance.py` writes this page; figures of
another machine differ, ratios less so.

{findings.markdown([HEAD, *map(row, rows)])}
"""


def _processor() -> str:
    """The processor's name, where the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(Path(sys.argv[1]).read_text("utf-8"))), encoding="utf-8")
