"""The notebook runs, cell by cell, without Jupyter."""

from __future__ import annotations

import json
from typing import Any

from nls_core.settings import ROOT


def test_every_cell_of_the_notebook_runs() -> None:
    notebook = json.loads((ROOT / "docs" / "library.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert len(cells) > 5
    scope: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell, "docs/library.ipynb", "exec"), scope)
    assert [each.manifest.id for each in scope["analysis"].models] == list(scope["request"].models)
    assert all(each["outputs"] == [] for each in notebook["cells"] if "outputs" in each)
