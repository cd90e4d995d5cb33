"""The report of a family as all pages show it: means and intervals over the runs of each cell.

Made from raw results alone (see `stored_runs`), without any model or data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from nls_core import families, files
from nls_core.errors import CheckpointError
from nls_core.evidence import commands, masking, out_of_fold, robustness, stored_runs
from nls_core.evidence.collect import SCHEMA
from nls_core.evidence.stored_runs import Run, Runs, created_with
from nls_core.metrics import bootstrap, calibration, intervals, resampling
from nls_core.metrics.intervals import Interval
from nls_core.metrics.resampling import METRICS

REPORT = "report.json"
BASE = "ce-zero"
RESAMPLES = 2000
TEMPERED = "ce_temperature"  # the loss's name in cells that are ce with its temperature
WITH_T = "_with_t"  # of metrics after one temperature, fitted on the validation split
CALIBRATING = ("ece", "nll", "brier")  # what a temperature changes; it keeps accuracy and AURC


def spread(values: Iterable[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation over runs (None for one), and how many there are."""
    kept = list(values)
    return {"mean": fmean(kept), "sd": stdev(kept) if len(kept) > 1 else None, "n": len(kept)}


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
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, dict[str, Any]]:
    """The `cells` of a report: every cell's metrics over its seeds, and against `BASE`.

    Args:
        runs: as `stored_runs.read` gives them; cells of ce get a second one, with temperatures.
        labels: (N,).
        resamples: of the images, for the intervals.
        renderings: how many images in a row show one object: they are drawn together.
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
            "metrics": _metrics(cell, figures),
            **(_under_attack(cell, runs) if cell in runs else {}),
        }
        for cell, each in figures.items()
    }


def _figures(
    seeds: Mapping[int, Run], labels: Tensor, draws: Tensor, progress: Callable[[int], None]
) -> Figures:
    """All figures of a cell's runs, those with one temperature under the names of `WITH_T`."""
    values, drawn = {}, {}
    for seed, run in seeds.items():
        probs = calibration.with_temperature(run.logits, run.found["temperature"])
        with_t = {f"{name}{WITH_T}": METRICS[name](probs, labels) for name in CALIBRATING}
        values[seed] = stored_runs.scalars(run) | with_t
        drawn[seed] = resampling.resampled(run.logits.softmax(1), labels, draws)
        progress(1)
    return Figures(values, drawn)


def _tempered(seeds: Mapping[int, Run], labels: Tensor, draws: Tensor) -> Figures:
    probs = {
        seed: calibration.with_temperature(run.logits, run.found["temperature"])
        for seed, run in seeds.items()
    }
    return Figures(
        {
            seed: {k: metric(p, labels) for k, metric in METRICS.items()}
            for seed, p in probs.items()
        },
        {seed: resampling.resampled(p, labels, draws) for seed, p in probs.items()},
    )


def _metrics(cell: str, figures: Mapping[str, Figures]) -> dict[str, Any]:
    """name -> mean, sd, n, the interval, and the differences to other cells."""
    found: dict[str, Any] = {}
    mine = figures[cell]
    for name in sorted({name for run in mine.values.values() for name in run}):
        own = intervals.interval(mine.of(name), mine.drawn(name))
        found[name] = spread(mine.of(name).values()) | _ends(own)
        for key, other in _compared(cell).items():
            if gap := _gap(name, mine, figures.get(other)):
                found[name][key] = gap
    base = figures.get(BASE)
    if "ece" in found and (third := _gap("ece", mine, base, factor=1 / 3)):
        found["ece"]["vs_third_of_ce_zero"] = third
    return found


def _ends(found: Interval | None) -> dict[str, float | None]:
    return {"low": found.low, "high": found.high} if found else {"low": None, "high": None}


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
    return _stated(intervals.difference(mine.of(name), base.of(name), both, factor=factor))


def _stated(gap: Interval | None) -> dict[str, Any] | None:
    """A difference as reports hold it."""
    if gap is None:
        return None
    found = asdict(gap)
    return {"difference": found.pop("mean")} | found


def _under_attack(cell: str, runs: Runs) -> dict[str, Any]:
    """`robust`, `attacked`, `masking` and `transfer` of a cell, over its attacked runs."""
    attacked = {k: run for k, run in runs[cell].items() if "robust" in run.found}
    if not attacked:
        return {}
    base = {k: run for k, run in runs.get(BASE, {}).items() if "robust" in run.found}
    table: dict[str, dict[str, Any]] = {}
    first = next(iter(attacked.values())).found
    keys = first.get("epsilons_255", epsilon_keys())
    # some runs met more than others: the whole preset is for the seed that ships
    for case in dict.fromkeys(case for run in attacked.values() for case in run.found["robust"]):
        met = {k: run for k, run in attacked.items() if case in run.found["robust"]}
        theirs = {k: run for k, run in base.items() if case in run.right}
        table[case] = {}
        for i, key in enumerate(keys):
            entry: dict[str, Any] = spread(run.found["robust"][case][i] for run in met.values())
            if cell != BASE and theirs:
                entry |= _against(
                    {k: run.right[case][i] for k, run in met.items()},
                    {k: run.right[case][i] for k, run in theirs.items()},
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
    shown = _shown(attacked)
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


def _shown(attacked: Mapping[int, Run]) -> list[str]:
    """The signs of masking whose interval over seeds and images lies above their limit."""
    found = []
    for sign, places in masking.measures(attacked).items():
        for measure in places.values():
            drawn = _drawn(measure.by_image) if measure.by_image else None
            own = intervals.interval(measure.by_seed, drawn)
            if own and own.low is not None and own.low > measure.limit:
                found.append(sign)
                break
    return found


def _drawn(by_image: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Seed -> (R,) means of figures (N,) of the same N images, on the same resamples."""
    images = min(len(each) for each in by_image.values())
    resamples = resampling.shared(images, RESAMPLES)
    return {
        seed: torch.cat([r.mean(each[:images]) for r in resamples])
        for seed, each in by_image.items()
    }


def _against(mine: Mapping[int, Tensor], base: Mapping[int, Tensor]) -> dict[str, Any]:
    """`vs_ce_zero` of robust accuracies: right answers (M,) bool by seed.

    Runs that were attacked on fewer images are compared on those: all attack the first ones of the
    same permutation.
    """
    images = min(len(each) for each in (*mine.values(), *base.values()))

    def measured(right: Mapping[int, Tensor]) -> tuple[dict[int, float], dict[int, Tensor]]:
        cut = {seed: each[:images].double() for seed, each in right.items()}
        return {seed: float(each.mean()) for seed, each in cut.items()}, _drawn(cut)

    (ours, our_draws), (theirs, their_draws) = measured(mine), measured(base)
    gap = _stated(intervals.difference(ours, theirs, (our_draws, their_draws)))
    return {"vs_ce_zero": gap} if gap else {}


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
