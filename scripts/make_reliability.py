"""Write the tables of docs/reliability.md anew, from what `make soak` left.

    python scripts/make_reliability.py runs/reliability

Reads soak.json, overload.json, rest.json and fuzz.json of that folder; a table whose file is not
there stays as it is. A table stands between `<!-- name -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nls_core.evidence import findings
from nls_core.settings import ROOT

PAGE = ROOT / "docs" / "reliability.md"
MARKS = {
    "requests": "visits",
    "resident_mb": "resident MB",
    "cache_mb": "of it kept MB",
    "hooks": "hooks",
    "threads": "threads",
    "descriptors": "open files",
    "scratch_files": "uploads",
}


def soak(found: Mapping[str, Any]) -> str:
    """What was answered, and what the app held."""
    answers = [["visitor", "answers"]]
    answers += [[kind, _statuses(each)] for kind, each in found["answers"].items()]
    marks = [[*MARKS.values()]]
    for mark in found["marks"]:  # the first run did not have all figures
        marks.append([f"{mark[name]:,}" if name in mark else "" for name in MARKS])
    failed = "; ".join(found["failures"]) or "nothing"
    return (
        f"{found['requests']:,} visits by {found['clients']} clients in {found['seconds']:,.0f} s; "
        f"memory after the first {found['marks'][1]['requests']:,}: {found['growth_mb']:+.1f} MB; "
        f"failed: {failed}.\n\n{findings.markdown(answers)}\n\n{findings.markdown(marks)}"
    )


def overload(found: Sequence[Mapping[str, Any]]) -> str:
    """Figures with their aims."""
    rows = [["what", "measured", "aim", "reached"]]
    for each in found:
        sign = "≥" if each["kind"] == "least" else "≤"
        aim = "" if each["aim"] is None else f"{sign} {each['aim']:g}"
        reached = {None: "", True: "yes", False: "no"}[each["reached"]]
        rows.append([each["name"], f"{each['value']:g} {each['unit']}".strip(), aim, reached])
    return findings.markdown(rows)


def rest(found: Mapping[str, Any]) -> str:
    """What generated requests were answered."""
    rows = [["requests", "answers"]]
    rows += [[name, _statuses(each)] for name, each in found["answers"].items()]
    return (
        f"{found['examples']} examples of each operation (one where it takes nothing), in "
        f"{found['seconds']:,.0f} s.\n\n{findings.markdown(rows)}"
    )


def fuzz(found: Mapping[str, Any]) -> str:
    """What the fuzzer of the decoder reached."""
    ended = "nothing found" if found["status"] == 0 else f"ended with status {found['status']}"
    return (
        f"{found['files']:,} files in {found['seconds']:,} s; branches reached: "
        f"{found['branches_of_seeds']:,} by the files that it began with, {found['branches']:,} in "
        f"the end, by {found['kept']:,} files; at most {found['peak_mb']:,} MB; {ended}."
    )


def _statuses(each: Mapping[str, int]) -> str:
    names = {"0": "no answer"}
    return ", ".join(f"{count:,} × {names.get(s, s)}" for s, count in each.items())


PARTS: Mapping[str, Callable[[Any], str]] = {
    "soak": soak,
    "overload": overload,
    "rest": rest,
    "fuzz": fuzz,
}


def page(text: str, results: Mapping[str, Any]) -> str:
    """The page with those parts anew for which there are results."""
    try:
        for name, found in results.items():
            text = findings.placed(text, name, PARTS[name](found), PAGE.name)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    return text


def main(folder: Path) -> None:
    """Read what is there, and write the page."""
    files = {name: folder / f"{name}.json" for name in PARTS}
    results = {n: json.loads(path.read_text("utf-8")) for n, path in files.items() if path.exists()}
    PAGE.write_text(page(PAGE.read_text("utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
