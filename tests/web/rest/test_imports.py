"""What REST's schemas need to be imported."""

from __future__ import annotations

import subprocess
import sys

from nls_core.settings import ROOT


def test_the_schemas_need_neither_plotly_nor_gradio() -> None:
    """`nls compare --json` and REST encode a PNG: no chart and no page is needed for that."""
    code = "import sys, nls_core.web.rest.schemas; print(*{'plotly', 'gradio'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
