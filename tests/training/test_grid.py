"""A family by one command: searched, trained once, published with figures that hold."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nls_core import zoo
from nls_core.cli import entry
from nls_core.data import datasets
from nls_core.errors import CheckpointError, Interrupted, NLSLabError
from nls_core.families import FAMILIES, SPLIT, Family
from nls_core.families.recipe import Recipe
from nls_core.losses import WEIGHT
from nls_core.settings import Settings
from nls_core.training import checkpoints, grid, jobs, loop, protocols, publish, seeds
from nls_core.training.checkpoints import BEST, DIVERGED, LAST, LOG, Position
from nls_core.training.jobs import Job
from nls_core.training.options import Options
from nls_core.types import Manifest
from tests.helpers.site import with_separable
from tests.helpers.steps import RECIPE, separable


@dataclass(frozen=True)
class Trained:
    family: Family
    settings: Settings
    runs: Path
    manifests: list[Manifest]
    reported: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """One cell of one loss, trained for one epoch; the second rate of its search diverges."""
    folder = tmp_path_factory.mktemp("grid")
    recipe = replace(RECIPE, dataset="separable", epochs=1, flip=False, freeze_bn=False)
    family = Family(
        "tiny",
        recipe,
        {"ce": (0.1, 1e30)},
        1,
        paddings=("partial",),
        ablations={"gamma": ({"gamma": 0.5}, {"gamma": 1.5, "lr": 0.2})},
    )
    settings = Settings(models_dir=folder / "models", data_dir=folder / "data", device="cpu")
    reported: list[tuple[str, int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        with_separable(patch, folder / "site")
        manifests = protocols.train(
            family,
            settings,
            Options(folder / "runs", jobs=2),
            lambda stage, done, total: reported.append((stage, done, total or 0)),
        )
        yield Trained(family, settings, folder / "runs", manifests, reported)


def test_a_family_is_published_whole(trained: Trained) -> None:
    models_dir = trained.settings.models_dir
    assert zoo.available(models_dir) == ("tiny/ce-partial",)
    (manifest,) = trained.manifests
    assert manifest == zoo.read_manifest("tiny/ce-partial", models_dir)
    run = trained.runs / "tiny" / "ce-partial" / "seed0"
    stored = zoo.load(manifest.id, models_dir)[0].net.state_dict()
    best = torch.load(run / BEST, weights_only=True)["model"]
    for name, tensor in stored.items():
        expected = best[f"net.{name}"]
        assert torch.equal(
            tensor, expected.half().float() if expected.is_floating_point() else expected
        )
    assert manifest.seed == 0
    assert manifest.loss_parameters == {"gamma": 0.0}
    assert manifest.classes == ("left", "middle", "right")
    assert (manifest.channels, manifest.input_size) == (1, 28)
    assert manifest.recipe["lr"] == 0.1
    assert manifest.recipe["best_epoch"] == 1
    card = (models_dir / manifest.id / "README.md").read_text()
    assert f"{manifest.metrics['ece']:.4g}" in card
    log = models_dir / manifest.id / "training.csv"
    assert log.read_bytes() == (run / LOG).read_bytes()


def test_published_figures_are_those_of_nls_evaluate(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifest,) = trained.manifests
    monkeypatch.setenv("NLS_MODELS_DIR", str(trained.settings.models_dir))
    monkeypatch.setenv("NLS_DEVICE", "cpu")
    command = [*manifest.command.split(), "--json", "--runs", str(trained.runs / "new")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 0
    got = json.loads(capsys.readouterr().out)["models"][manifest.id]
    assert got["metrics"] == dict(manifest.metrics)
    assert got["temperature"] == manifest.temperature


def test_the_search_is_recorded_and_a_diverged_rate_is_out(trained: Trained) -> None:
    record = json.loads((trained.settings.models_dir / "tiny" / "search.json").read_text())
    assert record["chosen"] == {"ce": 0.1}
    assert [row["lr"] for row in record["tried"]] == [0.1]
    assert record["diverged"] == [{"loss": "ce", "lr": 1e30}]
    assert (trained.runs / "tiny" / "search" / "ce-lr1e+30" / DIVERGED).exists()


def test_the_ablations_are_recorded(trained: Trained) -> None:
    path = trained.settings.models_dir / "tiny" / "ablations.json"
    rows = json.loads(path.read_text())["ablations"]["gamma"]
    assert [(row["gamma"], row.get("lr")) for row in rows] == [(0.5, None), (1.5, 0.2)]
    log = publish.rows(trained.runs / "tiny" / "ablation" / "gamma0.5" / LOG)
    assert rows[0]["val_accuracy"] == float(log[-1]["val_accuracy"])


def test_the_median_seed_is_published_and_another_is_the_surrogate(
    trained: Trained, tmp_path: Path
) -> None:
    settings = trained.settings.model_copy(update={"models_dir": tmp_path / "models"})
    runs = tmp_path / "runs"
    (manifest,) = trained.manifests
    jobs_ = []
    for seed, accuracy in enumerate((0.9, 0.7, 0.8)):
        recipe = replace(trained.family.recipe, loss="ce", padding="zero", seed=seed)
        made = replace(
            manifest,
            id="tiny/ce-zero",
            padding="zero",
            seed=seed,
            recipe=asdict(recipe) | {"validation_accuracy": accuracy},
        )
        net = zoo.load(manifest.id, trained.settings.models_dir)[0].net
        zoo.store(net, made, seeds.seed_folder(runs, trained.family, seed))
        jobs_.append(Job(recipe, runs / "none" / str(seed)))
    (shipped,) = seeds.publish_seeds(jobs_, trained.family, settings, (), runs)
    assert shipped.seed == 2
    assert zoo.read_manifest("tiny/ce-zero", settings.models_dir).seed == 2
    other = zoo.read_manifest("tiny/ce-zero", settings.models_dir / "surrogates")
    assert other.seed == 0
    assert zoo.available(settings.models_dir) == ("tiny/ce-zero",)


def test_only_what_is_finished_is_published_on_demand(trained: Trained, tmp_path: Path) -> None:
    settings = trained.settings.model_copy(update={"models_dir": tmp_path})
    made = protocols.train(trained.family, settings, Options(trained.runs, seeds=3, finished=True))
    assert [m.seed for m in made] == [0]


def test_progress_counts_epochs(trained: Trained) -> None:
    stages = {stage: total for stage, _, total in trained.reported}
    assert stages == {"learning-rate search": 2, "training": 1, "ablations": 2}
    last = trained.reported[-1]
    assert last == ("ablations", 2, 2)


def test_what_is_finished_is_not_trained_again(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = {path: path.stat().st_mtime_ns for path in trained.runs.rglob("*")}
    again = protocols.train(trained.family, trained.settings, Options(trained.runs))
    assert {path: path.stat().st_mtime_ns for path in trained.runs.rglob("*")} == before
    assert len(again) == 1
    old, new = asdict(trained.manifests[0]), asdict(again[0])
    assert new == old


def test_runs_of_another_recipe_are_not_taken_for_these(trained: Trained) -> None:
    family = replace(trained.family, recipe=replace(trained.family.recipe, weight_decay=0.1))
    with pytest.raises(CheckpointError, match="another recipe"):
        protocols.train(family, trained.settings, Options(trained.runs))


# ---------------------------------------------------------------- processes


def test_a_failing_run_tells_its_last_words(tmp_path: Path) -> None:
    job = Job(replace(RECIPE, dataset=f"imagefolder:{tmp_path / 'none'}"), tmp_path / "run")
    with pytest.raises(NLSLabError, match=f"a run failed: {job.out}: nls: no folder .*none"):
        jobs.run_jobs([job], 1, lambda done: None)


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_signal_stops_the_runs_too(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, dataset=with_separable(monkeypatch, tmp_path / "site"), epochs=100_000)
    running, waiting = (Job(recipe, tmp_path / name) for name in ("running", "waiting"))
    started: list[jobs.Run] = []
    start = jobs.start

    def keep(*given: Any) -> jobs.Run:
        started.append(start(*given))
        return started[-1]

    monkeypatch.setattr(jobs, "start", keep)

    def send() -> None:
        deadline = time.monotonic() + 100
        while not (running.out / LOG).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    before = signal.getsignal(number)
    thread.start()
    with pytest.raises(Interrupted, match="the same command goes on"):
        jobs.run_jobs([running, waiting], 1, lambda done: None)
    thread.join()
    assert signal.getsignal(number) == before
    (run,) = started
    assert run.process.returncode == 128 + signal.SIGTERM  # it saved and left by itself
    saved = checkpoints.read(running.out / LAST, recipe)
    assert 0 < saved["progress"]["epoch"] < 100_000
    assert not waiting.out.exists()


def test_a_run_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.2)
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as words:
        assert words.readline() == b"ready\n"
        jobs.stop([jobs.Run(Job(RECIPE, Path("none")), process, words)])
    assert process.returncode == -signal.SIGKILL


def test_the_command_of_a_job_is_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(
        "separable", "smallresnet-8", "nls_ls", "partial", 0.2, 1.5, 0.3, 7, 16, 0.8, 1e-5,
        schedule="cosine", warmup=0.125, flip=False, amp=False, freeze_bn=True, seed=11, weight=0.5,
    )  # fmt: skip
    assert all(getattr(recipe, name) != value for name, value in Recipe().to_dict().items())
    aberrant = Recipe(
        "separable", loss="ce_margin", margin=6.0, label_noise=0.25, noise_kind="asymmetric",
        imbalance=2.0,
    )  # fmt: skip
    got: list[tuple[Recipe, Path]] = []

    def run(recipe: Recipe, out: Path, data: datasets.Data, **_: object) -> Position:
        got.append((recipe, out))
        return Position(rows=[{"val_ece": 0.0}])

    monkeypatch.setattr(loop, "run", run)
    monkeypatch.setitem(datasets.DATASETS, "separable", lambda *_: separable(6))
    tempered = Recipe("separable", loss="logitnorm", tau=0.5)
    for each in (recipe, aberrant, tempered, Recipe(dataset="separable")):
        command = Job(each, tmp_path / "out").command()
        monkeypatch.setattr("sys.argv", command[2:])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        assert ended.value.code == 0
        assert got.pop() == (each, tmp_path / "out")


# ---------------------------------------------------------------- the search, without training

FAMILY = Family("some", RECIPE, {"ce": (0.1, 0.2, 0.4), "nls": (0.5, 1.0)}, 6)


def write_log(job: Job, accuracies: list[float]) -> None:
    job.out.mkdir(parents=True)
    with (job.out / LOG).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "val_accuracy", "val_nll", "val_ece"])
        writer.writerows([n + 1, value, 0.5, 0.1] for n, value in enumerate(accuracies))


def diverge(job: Job) -> None:
    job.out.mkdir(parents=True, exist_ok=True)
    (job.out / DIVERGED).write_text(json.dumps({"recipe": job.recipe.to_dict()}))


def searched(runs: Path, last: dict[tuple[str, float], float]) -> list[Job]:
    found = grid.search_jobs(FAMILY, runs)
    for job in found:
        key = (job.recipe.loss, job.recipe.lr)
        if key in last:
            write_log(job, [0.99] * 5 + [last[key]])
        else:
            diverge(job)
    return found


def test_the_rate_with_the_best_last_accuracy_is_chosen(tmp_path: Path) -> None:
    last = {("ce", 0.1): 0.7, ("ce", 0.2): 0.9, ("ce", 0.4): 0.8, ("nls", 0.5): 0.6}
    found = searched(tmp_path, last)
    assert grid.choose_rates(FAMILY, found, tmp_path) == {"ce": 0.2, "nls": 0.5}
    record = json.loads((tmp_path / "some" / "search.json").read_text())
    assert {(row["loss"], row["lr"]): row["val_accuracy"] for row in record["tried"]} == last
    assert record["diverged"] == [{"loss": "nls", "lr": 1.0}]


def test_a_loss_without_any_rate_is_an_error(tmp_path: Path) -> None:
    found = searched(tmp_path, {("ce", 0.1): 0.7})
    with pytest.raises(NLSLabError, match=r"every learning rate diverged for \['nls'\]"):
        grid.choose_rates(FAMILY, found, tmp_path)


def test_a_search_that_is_not_finished_chooses_nothing(tmp_path: Path) -> None:
    last = {("ce", 0.1): 0.7, ("ce", 0.2): 0.9, ("ce", 0.4): 0.8, ("nls", 0.5): 0.6}
    found = searched(tmp_path, last)
    half = found[1].out / LOG
    half.write_text("".join(half.read_text().splitlines(keepends=True)[:3]))  # 2 of 6 epochs
    expected = r"search of some is not finished: 1 of 5 runs .*ce-lr0.2; `nls train --grid some`"
    with pytest.raises(CheckpointError, match=expected):
        grid.choose_rates(FAMILY, found, tmp_path)
    assert not (tmp_path / "some" / "search.json").exists()


def test_a_diverged_run_of_another_recipe_does_not_count(tmp_path: Path) -> None:
    job = Job(RECIPE, tmp_path / "run")
    assert not job.finished()
    diverge(job)
    assert job.finished()
    assert not Job(replace(RECIPE, lr=0.01), job.out).finished()


def test_search_runs_differ_in_loss_and_rate_only(tmp_path: Path) -> None:
    found = grid.search_jobs(FAMILY, tmp_path)
    assert [(job.recipe.loss, job.recipe.lr) for job in found] == [
        ("ce", 0.1), ("ce", 0.2), ("ce", 0.4), ("nls", 0.5), ("nls", 1.0)
    ]  # fmt: skip
    assert len({job.out for job in found}) == 5
    for job in found:
        shared = replace(job.recipe, loss=RECIPE.loss, lr=RECIPE.lr)
        assert shared == replace(RECIPE, epochs=6, seed=1000)


def test_cells_come_seed_by_seed(tmp_path: Path) -> None:
    found = grid.cell_jobs(FAMILY, {"ce": 0.2, "nls": 1.0}, tmp_path, seeds=2)
    cells = [f"{job.recipe.loss}-{job.recipe.padding}" for job in found]
    assert cells == [*FAMILY.cells(), *FAMILY.cells()]
    assert [job.recipe.seed for job in found] == [0] * 4 + [1] * 4
    assert {job.recipe.lr for job in found if job.recipe.loss == "nls"} == {1.0}
    assert len({job.out for job in found}) == 8


def test_the_headline_cells_get_two_seeds_more_from_three_on(tmp_path: Path) -> None:
    family, rates = replace(FAMILY, headline=("nls-zero",)), {"ce": 0.2, "nls": 1.0}
    for asked, more in ((1, 0), (2, 0), (3, 2), (4, 2)):
        found = grid.cell_jobs(family, rates, tmp_path, seeds=asked)
        counts = Counter(f"{job.recipe.loss}-{job.recipe.padding}" for job in found)
        assert counts == dict.fromkeys(FAMILY.cells(), asked) | {"nls-zero": asked + more}


@pytest.mark.parametrize("family", [f for f in FAMILIES.values() if f.protocol == SPLIT])
def test_every_family_can_be_trained(family: Family, tmp_path: Path) -> None:
    for job in grid.search_jobs(family, tmp_path):
        job.recipe.check()
    rates = {loss: rates[0] for loss, rates in family.rates.items()}
    for job in grid.cell_jobs(family, rates, tmp_path, seeds=1):
        job.recipe.check()
    assert FAMILIES[family.name] is family


def test_the_fashion_family_has_the_papers_six_cells_and_two_more_losses() -> None:
    losses = ("ce", "ls", "nls", "nls_ls")
    cells = {f"{loss}-{padding}" for loss in losses for padding in ("zero", "partial")}
    assert set(FAMILIES["fashion"].cells()) == cells | {"focal-zero"}
    assert FAMILIES["fashion"].fixed == {"focal": {"gamma": 3.0}, "nls_ls": {"weight": WEIGHT}}


def test_the_smoothing_ablation_matches_the_step_of_nls() -> None:
    family = FAMILIES["fashion"]
    steps = {row["lr"] * (1 - row["smoothing"]) for row in family.ablations["smoothing of nls"]}
    assert {round(step, 4) for step in steps} == {3.6}
