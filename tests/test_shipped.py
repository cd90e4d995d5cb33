"""The shipped models are those of the committed report: same weights, same answers."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from nls_core import nets, zoo
from nls_core.data import sample
from nls_core.evidence import measure, report, stored_runs
from nls_core.evidence.stored_runs import Run, Runs
from nls_core.metrics import calibration, conformal
from nls_core.settings import Settings
from tests.helpers.scripts import script

TABLES = script("make_tables")
MODELS = Settings().models_dir
IDS = zoo.available(MODELS)
FAMILIES = sorted({model_id.split("/")[0] for model_id in IDS})
FASHION = [model_id for model_id in IDS if model_id.startswith("fashion/")]
PHOTOS = [model_id for model_id in IDS if model_id.startswith("photos/")]


@cache
def results(family: str = "fashion") -> tuple[Runs, torch.Tensor]:
    return stored_runs.read(MODELS / family / stored_runs.FOLDER)


def run_of(model_id: str) -> Run:
    manifest = zoo.read_manifest(model_id, MODELS)
    return results(manifest.family)[0][model_id.split("/")[1]][manifest.seed]


@pytest.mark.parametrize("model_id", IDS)
def test_the_raw_results_are_of_the_shipped_weights(model_id: str) -> None:
    manifest, run = zoo.read_manifest(model_id, MODELS), run_of(model_id)
    assert run.found["sha256"] == manifest.sha256
    assert run.found["metrics"] == dict(manifest.metrics)
    assert run.found["temperature"] == manifest.temperature


@pytest.mark.parametrize("model_id", FASHION)
def test_the_shipped_model_gives_the_recorded_answers_on_the_sample(model_id: str) -> None:
    shipped = sample.read("fashion", MODELS)
    model, _ = zoo.load(model_id, MODELS)
    got = measure.predict(model, torch.from_numpy(shipped.images))
    run, everyone = run_of(model_id), results()[1]
    index = torch.from_numpy(shipped.indices)
    assert torch.equal(everyone[index], torch.from_numpy(shipped.labels))
    got = got - got.amax(1, keepdim=True)
    torch.testing.assert_close(got, run.logits[index], atol=0.02, rtol=2e-3)


@pytest.mark.parametrize("model_id", IDS)
def test_what_is_served_answers_as_the_model_that_is_stored(model_id: str) -> None:
    """Served models have their batch norms in the convolutions."""
    model, manifest = zoo.load(model_id, MODELS)
    x = torch.rand(4, manifest.channels, manifest.input_size, manifest.input_size)
    quick = nets.folded(model, x[:1])
    assert quick is not model
    with torch.no_grad():
        torch.testing.assert_close(quick(x).softmax(1), model(x).softmax(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_id", IDS)
def test_the_recorded_logits_give_the_recorded_figures(model_id: str) -> None:
    run, labels = run_of(model_id), results(model_id.split("/", maxsplit=1)[0])[1]
    probs = run.logits.softmax(1)
    for name in ("accuracy", "ece", "nll", "brier"):
        wanted = run.found["metrics"][name]
        assert calibration.METRICS[name](probs, labels) == pytest.approx(wanted, abs=3e-4), name


@pytest.mark.parametrize("model_id", IDS)
def test_the_limits_are_those_of_the_recorded_logits(model_id: str) -> None:
    labels = results(model_id.split("/", maxsplit=1)[0])[1]
    wanted = conformal.entry(run_of(model_id).logits.softmax(1), labels)
    assert zoo.read_manifest(model_id, MODELS).limits == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_report_has_every_shipped_cell_and_its_seeds(family: str) -> None:
    cells = report.read(family, MODELS)["cells"]
    for cell, seeds in results(family)[0].items():
        assert cells[cell]["seeds"] == sorted(seeds)
        mean = np.mean([run.found["metrics"]["accuracy"] for run in seeds.values()])
        assert cells[cell]["metrics"]["accuracy"]["mean"] == pytest.approx(mean)
    mine = {model_id.split("/")[1] for model_id in IDS if model_id.startswith(f"{family}/")}
    assert mine <= set(cells)


@pytest.mark.parametrize("model_id", PHOTOS)
def test_a_photos_model_is_small_and_names_the_bundled_photographs(model_id: str) -> None:
    folder = zoo.folder_of(model_id, MODELS)
    assert (folder / zoo.WEIGHTS).stat().st_size < 10_000_000
    right = TABLES.named(model_id, MODELS)
    assert len(right) >= 12
    # docs/photos.md has the shares: the aim of 95 % is missed, by `nls` most
    assert np.mean(list(right.values())) >= (0.6 if "/nls-" in model_id else 0.75), right


# its seeds 0 to 2 were trained again after the choice (docs/training.md, Weights of the seeds)
MOVED = ("fashion/ce-zero",)


def test_the_shipped_seed_is_the_median_of_its_cell() -> None:
    """By validation accuracy: raw results hold the curve, whose best epoch is what was stored."""
    for model_id in FASHION:
        seeds = results()[0][model_id.split("/")[1]]
        best = {k: max(row["val_accuracy"] for row in r.found["curve"]) for k, r in seeds.items()}
        ordered = sorted(best, key=lambda k: best[k])
        middle = best[ordered[(len(ordered) - 1) // 2]]
        shipped = best[zoo.read_manifest(model_id, MODELS).seed]
        if model_id in MOVED:
            assert shipped < max(best.values())
        else:
            assert shipped == middle
