"""Scripts as modules: `scripts/` is no package."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from nls_core.settings import ROOT


def script(name: str) -> ModuleType:
    """The module `scripts/<name>.py`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module
