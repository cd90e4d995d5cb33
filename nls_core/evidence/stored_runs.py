"""Raw results: what was measured of every run, in files that need no model to be read.

They lie in `models/<family>/raw/<cell>/seed<k>.{json,npz}`; the weights of extra seeds do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nls_core import files
from nls_core.errors import CheckpointError, brief
from nls_core.evidence import commands
from nls_core.evidence.collect import SCHEMA, Measurements, to_json
from nls_core.evidence.robustness import AUTOATTACK
from nls_core.types import Manifest

FOLDER = "raw"
LABELS = "labels.npz"
THRESHOLDS = (85, 88, 90)  # validation accuracy in %, whose first epoch tells convergence
VERSIONS = ("nls-lab", "torch", "torchvision", "numpy", "torchmetrics")  # of the extra `train`


@dataclass(frozen=True)
class Run:
    """One run's raw results: JSON, logits, and case -> (E, M) bool right answers under attack.

    `logits` are (N, K) float32, kept as float16 with the largest of each row at 0. `scores` are
    mask scores, (state, method or control, score) -> (N,), where the data set has masks. `signs`
    are those of `robustness.signs`, name -> (M,) bool, where the run kept them.
    """

    found: Mapping[str, Any]
    logits: Tensor
    right: Mapping[str, Tensor]
    scores: Mapping[tuple[str, str, str], Tensor] = field(default_factory=dict)
    signs: Mapping[str, Tensor] = field(default_factory=dict)


Runs = dict[str, dict[int, Run]]  # cell -> seed -> run


def write(
    evidence: Measurements,
    labels: Tensor,
    curve: Sequence[Mapping[str, str]],
    to: Path,
    *,
    renderings: int = 1,
) -> None:
    """Write a run's raw results.

    Args:
        evidence: of the run.
        labels: (N,) of the images.
        curve: the rows of its training log.
        to: the raw folder.
        renderings: how many images in a row show one object.
    """
    path = _path(evidence.manifest, to)
    rows = [{key: float(value) for key, value in row.items()} for row in curve]
    found = to_json(evidence) | {"curve": rows, "schema": SCHEMA, "created_with": created_with()}
    files.write_arrays(path.with_suffix(".npz"), **evidence.arrays)
    files.write_json(path, found)
    kept = {"labels": labels.numpy().astype(np.uint8), "renderings": np.asarray(renderings)}
    files.write_arrays(to / LABELS, **kept)


def joined(evidence: Measurements, labels: Tensor, folder: Path) -> Measurements:
    """What was measured of a run, and what is on record of its very weights and was not now.

    Args:
        evidence: of the run.
        labels: (N,) of the images.
        folder: the raw folder.

    Raises:
        CheckpointError: what is on record is damaged.
    """
    if not on_record(evidence.manifest, labels, folder):
        return evidence
    path = _path(evidence.manifest, folder)
    known = files.read_json(path)
    found = known | dict(evidence.found)
    preset = evidence.found.get(AUTOATTACK) or known.get("robust", {}).get(AUTOATTACK)
    if preset and "robust" in found:  # a case beside the others, as `collect` has it
        found["robust"] = found["robust"] | {AUTOATTACK: preset}
        found.pop(AUTOATTACK, None)
    arrays = files.read_arrays(path.with_suffix(".npz")) | dict(evidence.arrays)
    return Measurements(evidence.manifest, found, arrays)


def on_record(manifest: Manifest, labels: Tensor, folder: Path) -> bool:
    """Whether a raw folder has results of a run's very weights on the images of these labels."""
    path = _path(manifest, folder)
    return (
        path.exists()
        and files.read_json(path).get("sha256") == manifest.sha256
        and torch.equal(read_labels(folder), labels)
    )


def _path(manifest: Manifest, folder: Path) -> Path:
    return folder / manifest.id.split("/")[1] / f"seed{manifest.seed}.json"


def created_with() -> dict[str, str]:
    """Versions of the libraries that figures depend on."""
    return {name: version(name) for name in VERSIONS}


def read(folder: Path) -> tuple[Runs, Tensor]:
    """All runs of a raw folder, and the labels (N,) of the test split.

    Raises:
        CheckpointError: there is none, or a file is damaged; the message names it.
    """
    runs: Runs = {}
    labels = read_labels(folder)
    for path in sorted(folder.glob("*/seed*.json")):
        found, arrays = files.read_json(path), files.read_arrays(path.with_suffix(".npz"))
        try:
            seed, logits = int(found["seed"]), torch.from_numpy(arrays["logits"].astype(np.float32))
            if logits.ndim != 2 or len(logits) != len(labels):
                raise ValueError(f"{len(labels)} rows of logits expected, got {logits.shape}")
            right, signs = _named(arrays, "right "), _named(arrays, "sign ")
            scalars(run := Run(found, logits, right, _mask_scores(arrays), signs))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{files.shown(path)} or its .npz is damaged: {brief(repr(error))}"
            ) from error
        runs.setdefault(path.parent.name, {})[seed] = run
    return runs, labels


def read_labels(folder: Path) -> Tensor:
    """The labels (N,) int64 of the images that a raw folder answers; errors as `read`."""
    path = folder / LABELS
    if not path.exists():
        raise CheckpointError(
            f"no raw results in {files.shown(folder)}; "
            f"`{commands.measure(folder.parent.name)}` makes them"
        )
    labels = files.read_arrays(path).get("labels")
    if labels is None or labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise CheckpointError(f"{files.shown(path)} is damaged: expected 'labels' (N,) of integers")
    return torch.from_numpy(labels.astype(np.int64))


def read_renderings(folder: Path) -> int:
    """How many images in a row show one object: figures are resampled by object. Errors as `read`.

    Raw results of older versions say nothing of it: one.
    """
    read_labels(folder)
    return int(files.read_arrays(folder / LABELS).get("renderings", 1))


def _named(arrays: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): torch.from_numpy(arrays[key])
        for key in arrays
        if key.startswith(prefix)
    }


def _mask_scores(arrays: Mapping[str, Any]) -> dict[tuple[str, str, str], Tensor]:
    """(state, method or control, score) -> (N,), from 'mask <state> <method> <score>'.

    Files name the controls '<state> control <score>_<control>', and what a uniform map gets
    '<state> control area'.
    """
    found = {}
    for key, scores in _named(arrays, "mask ").items():
        state, method, score = key.split(" ")
        if (method, score) == ("control", "area"):
            method = "uniform"
        elif method == "control":
            score, _, method = score.rpartition("_")
        found[state, method, score] = scores
    return found


def scalars(run: Run) -> dict[str, float]:
    """All single numbers of a run, by name; what it does not have is left out."""
    found = run.found
    values = {k: v for k, v in found["metrics"].items() if k != "images" and v is not None}
    values["temperature"] = found["temperature"]
    for key in ("accuracy", "ece"):
        rows = [row for each in found.get("shift", {}).values() for row in each]
        if rows:
            values[f"{key}_shift"] = fmean(row[key] for row in rows)
    values |= {f"ood_auroc_{name}": value for name, value in found.get("ood", {}).items()}
    values |= {f"map_{name}": value for name, value in found.get("maps", {}).items()}
    return values | convergence([row["val_accuracy"] for row in found["curve"]])


def convergence(accuracy: Sequence[float]) -> dict[str, float]:
    """How fast a run learnt, from its validation accuracy after each epoch.

    Returns:
        'epochs_to_85' and so on: the first epoch at or above, left out where there is none;
        'curve_area': the mean over all epochs.
    """
    if not accuracy:
        return {}
    found = {"curve_area": fmean(accuracy)}
    for percent in THRESHOLDS:
        first = next((i for i, v in enumerate(accuracy, 1) if 100 * v >= percent), None)
        if first is not None:
            found[f"epochs_to_{percent}"] = float(first)
    return found
