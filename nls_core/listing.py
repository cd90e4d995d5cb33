"""What the models folder says of its models, without checking or loading any.

It needs no torch, whose import alone takes seconds: `nls models` lists with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nls_core import files
from nls_core.errors import CheckpointError, brief
from nls_core.types import Manifest

CONFIG = "config.json"  # in the folder of a model
# of small letters (some file systems know no others), beginning so that no command line takes an
# id for an option, and short enough for any file system
_PART = "[a-z0-9_][a-z0-9_-]{0,99}"
ID = rf"{_PART}/{_PART}"  # of a model: `<family>/<name>`
_ID = re.compile(ID)


def available(models_dir: Path, family: str | None = None) -> tuple[str, ...]:
    """Ids of the models in a folder, sorted; a folder counts when it has a manifest.

    `family` leaves only the models of that one.
    """
    folders = (path.parent for path in models_dir.glob(f"*/*/{CONFIG}"))
    ids = (f"{folder.parent.name}/{folder.name}" for folder in folders)
    named = sorted(name for name in ids if _ID.fullmatch(name))
    return tuple(name for name in named if family in (None, name.split("/")[0]))


def stated(model_id: str, models_dir: Path) -> Manifest:
    """A manifest as it is written; `zoo.read_manifest` checks it too.

    Raises:
        CheckpointError: it has not a manifest's entries.
    """
    path = models_dir / model_id / CONFIG
    entries: dict[str, Any] = files.read_json(path, dict)
    try:
        manifest = Manifest(**entries)
        summary([manifest])
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{files.shown(path)} is damaged: {brief(error)}") from error
    return manifest


def summary(manifests: Iterable[Manifest]) -> list[list[str]]:
    """The table of `nls models`: a head, then a row per model; shares in percent."""
    head = ["model", "accuracy %", "ECE-15 %", "mean confidence %", "NLL", "T", "ECE-15 after T %"]
    rows = [head]
    for m in manifests:
        keys = ("accuracy", "ece", "mean_confidence", "ece_calibrated")
        *shares, after = (_cell(m.metrics.get(key), 100, 2) for key in keys)
        nll = _cell(m.metrics.get("nll"), 1, 4)
        rows.append([m.id, *shares, nll, f"{m.temperature:.3f}", after])
    return rows


def _cell(value: float | None, scale: int, digits: int) -> str:
    return "-" if value is None else f"{scale * value:.{digits}f}"
