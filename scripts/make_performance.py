"""Write docs/performance.md from what `nls bench --json` printed, on the machine that ran it.

    nls bench --json > bench.json
    nls bench --server --json > server.json
    python scripts/make_performance.py bench.json server.json

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


def server(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The part on the app: its start, its memory, and servers under load."""
    figures = [
        [f["name"], f"{f['value']:g} {f['unit']}", "" if f["aim"] is None else f"≤ {f['aim']:g}"]
        for f in found["app"]
    ]
    speeds = [[str(value) for value in row.values()] for row in found["load"]]
    return f"""
## The app

Each visitor opens Compare and moves ε twice; every tenth compares a picture of their own. Resident
memory counts shared libraries, of which torch alone is some 500 MB.

{findings.markdown([["what", "measured", "aim"], *figures])}

Under load: clients that ask one request after the other for two small models' predictions and maps
of pictures that were not asked for before, of this app and of the same work in a bare endpoint.

{findings.markdown([list(found["load"][0]), *speeds])}
"""


def page(
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> str:
    """The page's text."""
    machine = f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return f"""# Speed, as ratios

What `nls bench` measured on {machine}: two ways in turn in one process, medians of several rounds
± the distance between their quartiles. `scripts/make_performance.py` writes this page; figures of
another machine differ, ratios less so.

{findings.markdown([HEAD, *map(row, rows)])}
{server(found) if found else ""}"""


def _processor() -> str:
    """The processor's name, where the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


if __name__ == "__main__":
    read = [json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:]]
    PAGE.write_text(page(*read), encoding="utf-8")
