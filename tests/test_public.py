"""The names that people and scripts outside use: where they are, and that asking is cheap."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import nls_core
from nls_core.settings import ROOT

FACES = (
    ("nls_core.losses", "LOSSES"),
    ("nls_core.nets", "with_padding"),
    ("nls_core.zoo", "load"),
    ("nls_core.attacks", "ATTACKS"),
    ("nls_core.cams", "CAMS"),
    ("nls_core.images", "decode_image"),
    ("nls_core.metrics", "METRICS"),
    ("nls_core.cli", "main"),
    ("nls_core.web.server", "create_app"),
)

# what the maps' library, tables of intervals and ranks, and the page bring with them
SECONDS = {"gradio", "matplotlib", "pandas", "plotly", "scipy.stats", "sklearn", "torchmetrics"}


@pytest.mark.parametrize(("module", "name"), FACES)
def test_faces_stay_where_they_are(module: str, name: str) -> None:
    assert hasattr(import_module(module), name)


def test_the_root_names_what_the_modules_have() -> None:
    assert nls_core.LOSSES is import_module("nls_core.losses").LOSSES
    assert nls_core.load is import_module("nls_core.zoo").load
    assert set(nls_core.__all__) == set(dir(nls_core))
    for name in nls_core.__all__:
        assert getattr(nls_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'; expected one of"):
        _ = nls_core.nothing


@pytest.mark.parametrize(
    ("line", "heavy"),
    [
        ("import nls_core", {"torch", "gradio", "plotly"}),
        ("from nls_core.cli import app; app(['--help'])", {"torch", "gradio", "plotly"}),
        ("import nls_core.cli.models", SECONDS),
        ("import nls_core.cli.train", SECONDS | {"torchvision"}),
    ],
)
def test_nothing_is_imported_that_takes_seconds_and_is_not_needed(
    line: str, heavy: set[str]
) -> None:
    code = f"try:\n    {line}\nexcept SystemExit:\n    pass\nimport sys\n"
    code += f"sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
