"""The report of a family as all pages show it: means and intervals over the runs of each cell.

Made from raw results alone (see `stored_runs`), without any model or data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from nls_core import families, files
from nls_core.errors import CheckpointError
from nls_core.evidence import (
    after_training,
    attack_figures,
    commands,
    out_of_fold,
    robustness,
    stored_runs,
)
from nls_core.evidence.cells import BASE, TEMPERED, WITH_T
from nls_core.evidence.collect import SCHEMA
from nls_core.evidence.stored_runs import Run, Runs, created_with
from nls_core.metrics import bootstrap, calibration, fair_calibration, intervals, resampling
from nls_core.metrics.resampling import METRICS
from nls_core.metrics.temperature import with_temperature

REPORT = "report.json"
RESAMPLES = 2000
# the ECE less a share of the baseline's: below 0 where it is at most that share
SHARES = {"vs_third_of_ce_zero": 1 / 3, "vs_half_of_ce_zero": 1 / 2}
CALIBRATING = ("ece", "nll", "brier")  # what a temperature changes; it keeps accuracy and AURC


@dataclass(frozen=True)
class Figures:
    """A cell's figures by seed: `values[seed][name]`, and `resampled[seed][name]` (R,)."""

    values: Mapping[int, Mapping[str, float]]
    resampled: Mapping[int, Mapping[str, Tensor]]

    def of(self, name: str) -> dict[int, float]:
        """Seed -> figure, of the seeds that have it."""
        return {seed: run[name] for seed, run in self.values.items() if name in run}

    def drawn(self, name: str) -> dict[int, Tensor] | None:
        """Seed -> (R,), or None for a figure that is not resampled."""
        seeds = self.of(name)
        if any(name not in self.resampled.get(seed, {}) for seed in seeds):
            return None
        return {seed: self.resampled[seed][name] for seed in seeds}


def aggregate(
    runs: Runs,
    labels: Tensor,
    *,
    resamples: int,
    renderings: int = 1,
    compared: Callable[[str], Mapping[str, str]] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, dict[str, Any]]:
    """The `cells` of a report: every cell's metrics over its seeds, and against `BASE`.

    Args:
        runs: as `stored_runs.read` gives them; cells of ce get a second one, with temperatures.
        labels: (N,).
        resamples: of the images, for the intervals.
        renderings: how many images in a row show one object: they are drawn together.
        compared: of a cell, under which name its metrics are compared with which other cell; None
            takes the baseline and, with partial padding, the zero twin.
        progress: called with 1 after each run.
    """
    draws = bootstrap.draws(len(labels), resamples, per=renderings)
    figures = {}
    for cell, seeds in runs.items():
        figures[cell] = _figures(seeds, labels, draws, progress)
        if cell.startswith("ce-"):
            figures[f"{TEMPERED}-{cell.removeprefix('ce-')}"] = _tempered(seeds, labels, draws)
    return {
        cell: {
            "seeds": sorted(each.values),
            "metrics": _metrics(cell, figures, (compared or _compared)(cell)),
            **(_further(cell, runs, labels, resamples, renderings) if cell in runs else {}),
        }
        for cell, each in figures.items()
    }


def _further(
    cell: str, runs: Runs, labels: Tensor, resamples: int, renderings: int
) -> dict[str, Any]:
    """What is told of a cell's own runs beside metrics."""
    return attack_figures.of_cell(cell, runs, resamples) | {
        "after_training": after_training.of_cell(runs[cell], labels, per=renderings)
    }


def _figures(
    seeds: Mapping[int, Run], labels: Tensor, draws: Tensor, progress: Callable[[int], None]
) -> Figures:
    """All figures of a cell's runs, those with one temperature under the names of `WITH_T`."""
    values, drawn = {}, {}
    for seed, run in seeds.items():
        probs = with_temperature(run.logits, run.found["temperature"])
        with_t = {f"{name}{WITH_T}": METRICS[name](probs, labels) for name in CALIBRATING}
        plain = run.logits.softmax(1)
        fair = fair_calibration.figures(plain, labels)  # of the raw outputs, whatever the run's age
        values[seed] = stored_runs.scalars(run) | with_t | fair
        drawn[seed] = resampling.resampled(plain, labels, draws)
        progress(1)
    return Figures(values, drawn)


def _tempered(seeds: Mapping[int, Run], labels: Tensor, draws: Tensor) -> Figures:
    probs = {
        seed: with_temperature(run.logits, run.found["temperature"]) for seed, run in seeds.items()
    }
    return Figures(
        {
            seed: {k: metric(p, labels) for k, metric in METRICS.items()}
            | fair_calibration.figures(p, labels)
            for seed, p in probs.items()
        },
        {seed: resampling.resampled(p, labels, draws) for seed, p in probs.items()},
    )


def _metrics(
    cell: str, figures: Mapping[str, Figures], others: Mapping[str, str]
) -> dict[str, Any]:
    """name -> mean, sd, n, the interval, and the differences to `others`, by their names."""
    found: dict[str, Any] = {}
    mine = figures[cell]
    for name in sorted({name for run in mine.values.values() for name in run}):
        found[name] = intervals.figure(mine.of(name), mine.drawn(name))
        for key, other in others.items():
            if gap := _gap(name, mine, figures.get(other)):
                found[name][key] = gap
    base = figures.get(BASE)
    for key, factor in SHARES.items():
        if "ece" in found and (of_base := _gap("ece", mine, base, factor=factor)):
            found["ece"][key] = of_base
    return found


def _compared(cell: str) -> dict[str, str]:
    """What a cell is compared with: the baseline, and with partial padding its zero twin."""
    others = {"vs_ce_zero": BASE}
    if cell.endswith("-partial"):
        others["vs_zero_padding"] = f"{cell.removesuffix('-partial')}-zero"
    return {key: other for key, other in others.items() if other != cell}


def _gap(
    name: str, mine: Figures, base: Figures | None, factor: float = 1.0
) -> dict[str, Any] | None:
    """The difference in one metric between two cells, over the seeds that both have."""
    if base is None:
        return None
    drawn = mine.drawn(name), base.drawn(name)
    both = (drawn[0], drawn[1]) if drawn[0] is not None and drawn[1] is not None else None
    gap = intervals.difference(mine.of(name), base.of(name), both, factor=factor)
    return gap.as_difference() if gap else None


# what a protocol adds to the report: (record, runs, labels, folder of the family) -> record
EXTENSIONS: dict[str, Callable[[dict[str, Any], Runs, Tensor, Path], dict[str, Any]]] = {
    families.SPLIT: lambda record, runs, labels, folder: record,
    families.OUT_OF_FOLD: partial(out_of_fold.extend, base=BASE),
}


def build(
    family: str, models_dir: Path, progress: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
    """Aggregate a family's raw results, by whichever protocol, and write its report.json.

    `progress` is called with 1 after each run.

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
            "epsilons_255": robustness.epsilon_keys(),
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
