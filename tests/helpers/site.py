"""Python processes that tests start, and what they know from their start on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nls_core.data import datasets
from nls_core.settings import ROOT
from tests.helpers.steps import separable

SEPARABLE = """from nls_core.data import datasets
from tests.helpers.steps import separable

datasets.DATASETS["separable"] = lambda *_: separable()
"""


def at_start(patch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Let started processes run some code first, which a new folder holds."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    patch.setenv("PYTHONPATH", os.pathsep.join((str(folder), str(ROOT))))


def with_separable(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Register `steps.separable` as a data set, here and in started processes; gives its name."""
    patch.setitem(datasets.DATASETS, "separable", lambda *_: separable())
    at_start(patch, folder, SEPARABLE)
    return "separable"
