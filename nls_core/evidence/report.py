"""The report of a family as all pages show it: means and intervals over the runs of each cell.

Made from raw results alone (see `stored_runs`), without any model or data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from nls_core import families, files
from nls_core.errors import CheckpointError
from nls_core.evidence import commands, out_of_fold, robustness, stored_runs
from nls_core.evidence.collect import SCHEMA
from nls_core.evidence.stored_runs import Run, Runs, created_with
from nls_core.metrics import bootstrap, calibration, selective
from nls_core.metrics.bootstrap import Difference

REPORT = "report.json"
BASE = "ce-zero"
RESAMPLES = 300
TEMPERED = "ce_temperature"  # the loss's name in cells that are ce with its temperature
# on probabilities: these get intervals over images and seeds; the others over seeds
IMAGE_METRICS: dict[str, bootstrap.Metric] = {
    **calibration.METRICS,
    "error_auroc": selective.error_auroc,
    "aurc": selective.aurc,
}


def spread(values: Iterable[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation over runs (None for one), and how many there are."""
    kept = list(values)
    return {"mean": fmean(kept), "sd": stdev(kept) if len(kept) > 1 else None, "n": len(kept)}


def aggregate(
    runs: Runs,
    labels: Tensor,
    *,
    resamples: int,
    renderings: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, dict[str, Any]]:
    """The `cells` of a report: every cell's metrics over its seeds, and against `BASE`.

    Args:
        runs: as `stored_runs.read` gives them; cells of ce get a second one, with temperatures.
        labels: (N,).
        resamples: of the images, for the intervals.
        renderings: how many images in a row show one object: they are drawn together.
        progress: called with 1 after each resample.
    """
    values = {
        cell: {k: stored_runs.scalars(run) for k, run in seeds.items()}
        for cell, seeds in runs.items()
    }
    probs = {
        cell: {k: r.logits.softmax(1) for k, r in seeds.items()} for cell, seeds in runs.items()
    }
    for cell in [name for name in runs if name.startswith("ce-")]:
        name = f"{TEMPERED}-{cell.removeprefix('ce-')}"
        probs[name] = {
            k: calibration.with_temperature(r.logits, r.found["temperature"])
            for k, r in runs[cell].items()
        }
        values[name] = {
            k: {key: metric(p, labels) for key, metric in IMAGE_METRICS.items()}
            for k, p in probs[name].items()
        }
    rounds = bootstrap.resampled(
        probs, labels, IMAGE_METRICS, resamples=resamples, per=renderings, progress=progress
    )
    cells = {}
    for cell, seeds in values.items():
        cells[cell] = {
            "seeds": sorted(seeds),
            "metrics": _metrics(cell, values, rounds),
            **(_under_attack(cell, runs) if cell in runs else {}),
        }
    return cells


def _metrics(
    cell: str, values: Mapping[str, Mapping[int, dict[str, float]]], rounds: Sequence[Any]
) -> dict[str, Any]:
    """name -> mean, sd, n, and the differences to other cells."""
    found: dict[str, Any] = {}
    names = sorted({name for run in values[cell].values() for name in run})
    for name in names:
        found[name] = spread(run[name] for run in values[cell].values() if name in run)
        for key, other in _compared(cell).items():
            gap = _gap(name, (cell, other), values, rounds)
            found[name] |= {key: asdict(gap)} if gap else {}
    return found


def _compared(cell: str) -> dict[str, str]:
    """What a cell is compared with: the baseline, and with partial padding its zero twin."""
    others = {"vs_ce_zero": BASE}
    if cell.endswith("-partial"):
        others["vs_zero_padding"] = f"{cell.removesuffix('-partial')}-zero"
    return {key: other for key, other in others.items() if other != cell}


def _gap(
    name: str,
    cells: tuple[str, str],
    values: Mapping[str, Mapping[int, dict[str, float]]],
    rounds: Sequence[Any],
) -> Difference | None:
    """The difference in one metric between two cells, by the method that the metric allows."""
    mine, base = (
        {k: run[name] for k, run in values.get(which, {}).items() if name in run} for which in cells
    )
    if name not in IMAGE_METRICS or not set(mine) & set(base):
        return bootstrap.by_seed(mine, base)
    pairs = [tuple({k: r[which][k][name] for k in r[which]} for which in cells) for r in rounds]
    return bootstrap.by_image_and_seed(mine, base, pairs)  # type: ignore[arg-type]


def _under_attack(cell: str, runs: Runs) -> dict[str, Any]:
    """`robust`, `attacked`, `masking` and `transfer` of a cell, over its attacked runs."""
    attacked = {k: run for k, run in runs[cell].items() if "robust" in run.found}
    if not attacked:
        return {}
    base = {k: run for k, run in runs.get(BASE, {}).items() if "robust" in run.found}
    table: dict[str, dict[str, Any]] = {}
    first = next(iter(attacked.values())).found
    keys = first.get("epsilons_255", epsilon_keys())
    for case in first["robust"]:
        table[case] = {}
        for i, key in enumerate(keys):
            mine = {k: run.found["robust"][case][i] for k, run in attacked.items()}
            entry: dict[str, Any] = spread(mine.values())
            if cell != BASE and base:
                entry |= _against(
                    {k: r.right[case][i] for k, r in attacked.items()},
                    {k: r.right[case][i] for k, r in base.items() if case in r.right},
                )
            table[case][key] = entry
    found = {
        "robust": table,
        "attacked": {
            name: {
                key: spread(run.found["attacked"][name][i] for run in attacked.values())
                for i, key in enumerate(keys)
            }
            for name in ("ece", "mean_confidence")
        },
    }
    # signs of masking and transfer are looked for on a test split only
    return found | (_believed(attacked) if "masking" in first else {})


def _believed(attacked: Mapping[int, Run]) -> dict[str, Any]:
    """`masking` and `transfer` of a cell: whether its attacks can be believed."""
    signs = [run.found["masking"] for run in attacked.values()]
    shown = sorted({sign for each in signs for sign in each["signs"]})
    return {
        "masking": {
            "verdict": "masking" if shown else "no sign",
            "signs": shown,
            "runs_with_signs": sum(bool(each["signs"]) for each in signs),
            "runs": len(signs),
            "zero_gradient": spread(each["zero_gradient"] for each in signs),
            "far": spread(each["far"] for each in signs),
        },
        "transfer": _transfer(attacked),
    }


def _against(mine: Mapping[int, Tensor], base: Mapping[int, Tensor]) -> dict[str, Any]:
    """`vs_ce_zero` of robust accuracies: right answers (M,) bool by seed, the same images."""
    images = torch.arange(len(next(iter(mine.values()))))
    rounds = [
        (_accuracies(mine, index), _accuracies(base, index))
        for index in bootstrap.draws(len(images), RESAMPLES)
    ]
    gap = bootstrap.by_image_and_seed(_accuracies(mine, images), _accuracies(base, images), rounds)
    return {"vs_ce_zero": asdict(gap)} if gap else {}


def _accuracies(right: Mapping[int, Tensor], index: Tensor) -> dict[int, float]:
    """Seed -> accuracy on the images of an index (M,)."""
    return {seed: float(each[index].double().mean()) for seed, each in right.items()}


def _transfer(attacked: Mapping[int, Run]) -> dict[str, dict[str, Any]]:
    """Source cell -> ε -> accuracy on its images, over seeds."""
    sources = {source for run in attacked.values() for source in run.found["transfer"]}
    return {
        source.split("/")[-1]: {
            key: spread(
                run.found["transfer"][source][i]
                for run in attacked.values()
                if source in run.found["transfer"]
            )
            for i, key in enumerate(epsilon_keys())
        }
        for source in sorted(sources)
    }


def epsilon_keys() -> list[str]:
    """`robustness.EPSILONS` in 1/255, as reports name them: '0.5', '1', '2', …."""
    return [f"{epsilon * 255:g}" for epsilon in robustness.EPSILONS]


# what a protocol adds to the report: (record, runs, labels, folder of the family) -> record
EXTENSIONS: dict[str, Callable[[dict[str, Any], Runs, Tensor, Path], dict[str, Any]]] = {
    families.SPLIT: lambda record, runs, labels, folder: record,
    families.OUT_OF_FOLD: partial(out_of_fold.extend, base=BASE),
}


def build(
    family: str, models_dir: Path, progress: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
    """Aggregate a family's raw results, by whichever protocol, and write its report.json.

    `progress` is called with 1 after each of `RESAMPLES` resamples.

    Raises:
        CheckpointError: see `stored_runs.read`; or what the protocol adds is missing or damaged.
    """
    folder = models_dir / family
    runs, labels = stored_runs.read(folder / stored_runs.FOLDER)
    renderings = stored_runs.read_renderings(folder / stored_runs.FOLDER)
    record = {
        "schema": SCHEMA,
        "command": commands.measure(family),
        "data": {
            "test_images": len(labels),
            "attacked_images": max(
                (len(b[0]) for c in runs.values() for r in c.values() for b in r.right.values()),
                default=0,
            ),
            "epsilons_255": epsilon_keys(),
            "attacks": robustness.MEANING,
            "bins": calibration.BINS,
            "resamples": RESAMPLES,
        },
        "created_with": created_with(),
        "cells": aggregate(
            runs, labels, resamples=RESAMPLES, renderings=renderings, progress=progress
        ),
    }
    record = EXTENSIONS[families.protocol_of(family)](record, runs, labels, folder)
    files.write_json(folder / REPORT, record)
    return record


def read(family: str, models_dir: Path) -> dict[str, Any]:
    """A family's report.json.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = models_dir / family / REPORT
    record: dict[str, Any] = files.read_json(path)
    for key in ("cells", "data"):
        part = record.get(key)
        if not isinstance(part, dict) or not part:
            raise CheckpointError(f"{files.shown(path)} is damaged: expected entries in {key!r}")
    for name, cell in record["cells"].items():
        if not isinstance(cell, dict) or not isinstance(cell.get("metrics"), dict):
            raise CheckpointError(f"{files.shown(path)} is damaged: no 'metrics' of {name[:40]!r}")
    return record
