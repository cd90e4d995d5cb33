"""The trainer: exact resumption, equal steps in one and two processes, signals, schedules."""

from __future__ import annotations

import csv
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nls_core.data import datasets
from nls_core.errors import CheckpointError, InvalidInput, NLSLabError
from nls_core.families.recipe import Recipe, learning_rate, with_overrides
from nls_core.losses import LOSSES
from nls_core.settings import ROOT
from nls_core.training import checkpoints, loop
from nls_core.training.checkpoints import BEST, BEST_NLL, DIVERGED, LAST, LOG, Position
from tests.helpers.site import with_separable
from tests.helpers.steps import RECIPE, separable

SHORT = replace(RECIPE, epochs=2, batch_size=16, freeze_bn=False)  # 54 of 60 images: 3 steps each


def weights(folder: Path, name: str = LAST) -> dict[str, Tensor]:
    state: dict[str, Any] = torch.load(folder / name, weights_only=True)
    return dict(state["model"])


def assert_same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def without_times(position: Position) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in position.rows]


# ---------------------------------------------------------------- the course of a run


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_a_separable_problem(loss: str, tmp_path: Path) -> None:
    rates = {"ce": 0.1, "ls": 0.1, "nls": 1.0, "cosine": 0.5}
    own = {"logitnorm": {"tau": 0.5}}.get(loss, {})  # its 0.04 needs more than 36 steps
    recipe = replace(SHORT, loss=loss, lr=rates.get(loss, 0.1), epochs=6, flip=False, **own)  # type: ignore[arg-type]
    done = loop.run(recipe, tmp_path, separable())
    losses = [row["train_loss"] for row in done.rows]
    assert losses[-1] < 0.9 * losses[0]
    assert done.best_accuracy == 1.0


def test_a_run_leaves_checkpoints_log_and_events(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = loop.run(SHORT, tmp_path, separable())
    with (tmp_path / LOG).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    for row, exact in zip(rows, done.rows, strict=True):
        assert {k: float(v) for k, v in row.items()} == pytest.approx(exact, rel=1e-5)
    best = max(done.rows, key=lambda row: row["val_accuracy"])
    assert (done.best_accuracy, done.best_epoch) == (best["val_accuracy"], best["epoch"])
    calibrated = min(done.rows, key=lambda row: row["val_nll"])
    assert (done.best_nll, done.best_nll_epoch) == (calibrated["val_nll"], calibrated["epoch"])
    for name in (LAST, BEST, BEST_NLL):
        assert checkpoints.read(tmp_path / name, SHORT)["model"]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    logged = {event.step: event.value for event in events.Scalars("val_nll")}
    assert logged[1] == pytest.approx(done.rows[0]["val_nll"])
    assert not list(tmp_path.glob("*.partial"))


def test_the_weights_of_the_lowest_validation_nll_are_kept_beside_the_last(tmp_path: Path) -> None:
    recipe = replace(SHORT, epochs=6, lr=0.4, schedule="cosine")
    done = loop.run(recipe, tmp_path, separable())
    nll = [row["val_nll"] for row in done.rows]
    first = nll.index(min(nll)) + 1
    assert done.best_nll_epoch == first
    again = tmp_path / "again"
    loop.run(recipe, again, separable(), max_steps=first * 3 + 1)  # the epoch after it has begun
    assert_same_weights(weights(tmp_path, BEST_NLL), weights(again, BEST_NLL))


def test_validation_images_are_not_trained_on(tmp_path: Path) -> None:
    data = separable()
    trainer = loop.Trainer(SHORT, tmp_path, data)
    kept, held = datasets.divide(len(data))
    assert torch.equal(trainer.data.images, data.images[kept])
    assert torch.equal(trainer.held.images, data.images[held])


def test_training_and_validation_carry_the_noise_of_the_seed_whatever_the_loss() -> None:
    data = separable(300)
    noisy = loop.parts_of(data, NOISY)
    again = loop.parts_of(data, replace(NOISY, loss="nls", lr=9.0))
    other = loop.parts_of(data, replace(NOISY, seed=4))
    for made, same, clean in zip(noisy, again, loop.parts_of(data, SHORT), strict=True):
        assert torch.equal(made.labels, same.labels)
        assert torch.equal(made.images, same.images)
        assert len(made) < len(clean)
        place = made.images[:, 0, 10].float().argmax(1) // 9  # where the bar is says its class
        wrong = float((place.clamp(max=2) != made.labels).double().mean())
        assert wrong == pytest.approx(0.5, abs=0.03)
    assert not torch.equal(other[0].labels, noisy[0].labels)
    for part, index in zip(loop.parts_of(data, SHORT), datasets.hold_out(data), strict=True):
        assert torch.equal(part.labels, data.labels[index])


def test_fewer_images_than_a_batch_still_train(tmp_path: Path) -> None:
    done = loop.run(replace(SHORT, batch_size=999), tmp_path, separable(12))
    assert len(done.rows) == 2


def test_the_model_depends_on_the_seed_alone() -> None:
    data = separable(6)
    torch.manual_seed(1)
    first = loop.make_model(SHORT, data).state_dict()
    before = torch.random.get_rng_state()
    second = loop.make_model(SHORT, data).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert_same_weights(first, second)
    other = loop.make_model(replace(SHORT, seed=4), data).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_frozen_batch_norm_keeps_its_statistics(tmp_path: Path) -> None:
    loop.run(RECIPE, tmp_path, separable(), max_steps=3)
    state = weights(tmp_path)
    means = [tensor for name, tensor in state.items() if name.endswith("running_mean")]
    assert means
    assert all(not tensor.any() for tensor in means)


# ---------------------------------------------------------------- stopping and going on


NOISY = replace(SHORT, label_noise=0.5, imbalance=2.0)


@pytest.mark.parametrize("recipe", [SHORT, NOISY], ids=["clean", "aberrant"])
@pytest.mark.parametrize("stop", [1, 3, 4])  # within an epoch, at its end, after it
def test_a_resumed_run_is_bit_equal_to_an_uninterrupted_one(
    stop: int, recipe: Recipe, tmp_path: Path
) -> None:
    data, (whole, parts) = separable(), (tmp_path / "whole", tmp_path / "parts")
    expected = loop.run(recipe, whole, data)
    loop.run(recipe, parts, data, max_steps=stop)
    got = loop.run(recipe, parts, data, resume=True)
    for name in (LAST, BEST, BEST_NLL):
        assert_same_weights(weights(whole, name), weights(parts, name))
    assert without_times(got) == without_times(expected)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    expected = loop.run(SHORT, tmp_path, separable())
    before = (tmp_path / LAST).stat().st_mtime_ns
    assert loop.run(SHORT, tmp_path, separable(), resume=True).rows == expected.rows
    assert (tmp_path / LAST).stat().st_mtime_ns == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_so_and_the_run_goes_on_exactly(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(SHORT, dataset=with_separable(monkeypatch, tmp_path / "site"), epochs=20)
    options = f"--arch {recipe.arch} --epochs 20 --batch-size 16 --lr 0.05 --no-amp --seed 3"
    command = [sys.executable, "-m", "nls_core", "train", "--dataset", recipe.dataset, "--quiet"]
    process = subprocess.Popen(
        [*command, *options.split(), "--out", str(tmp_path / "run")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "run" / LOG, process)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, errors
    assert len(errors.splitlines()) == 1
    assert f"stopped by {number.name}; saved in epoch" in errors
    assert "--resume" in errors
    stopped = checkpoints.read(tmp_path / "run" / LAST, recipe)
    assert stopped["progress"]["epoch"] < 20

    data = datasets.load(recipe.dataset, tmp_path, "train")
    loop.run(recipe, tmp_path / "run", data, resume=True)
    loop.run(recipe, tmp_path / "whole", data)
    assert_same_weights(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)


# ---------------------------------------------------------------- what goes wrong


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    loop.run(SHORT, tmp_path, separable(), max_steps=1)
    with pytest.raises(InvalidInput, match="holds a run already; go on with --resume"):
        loop.run(SHORT, tmp_path, separable())


def test_another_recipe_does_not_go_on(tmp_path: Path) -> None:
    loop.run(SHORT, tmp_path, separable(), max_steps=1)
    with pytest.raises(CheckpointError, match=r"another recipe, with \{'lr': 0.05\}"):
        loop.run(replace(SHORT, lr=0.2), tmp_path, separable(), resume=True)


def test_other_data_do_not_go_on(tmp_path: Path) -> None:
    loop.run(SHORT, tmp_path, separable(), max_steps=1)
    data = replace(separable(), classes=("a", "b", "c", "d"))
    with pytest.raises(CheckpointError, match="does not fit this data set"):
        loop.run(SHORT, tmp_path, data, resume=True)


@pytest.mark.parametrize("kind", ["empty", "text", "half", "list"])
def test_a_damaged_checkpoint_is_named(kind: str, tmp_path: Path) -> None:
    loop.run(SHORT, tmp_path, separable(), max_steps=1)
    last = tmp_path / LAST
    data = last.read_bytes()
    if kind == "list":
        torch.save([1, 2], last)
    else:
        last.write_bytes(
            {"empty": b"", "text": b"not a model", "half": data[: len(data) // 2]}[kind]
        )
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged .*remove it") as raised:
        loop.run(SHORT, tmp_path, separable(), resume=True)
    assert len(str(raised.value).splitlines()) == 1


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    recipe = replace(SHORT, lr=1e30)
    with pytest.raises(NLSLabError, match=r"not finite at step \d+ of epoch \d.*lower"):
        loop.run(recipe, tmp_path, separable())
    assert (tmp_path / DIVERGED).exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loss": "mse"}, "unknown loss 'mse'"),
        ({"arch": "vgg"}, "unknown architecture 'vgg'"),
        ({"padding": "mirror"}, "unknown padding 'mirror'"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"epochs": 0}, "epochs must lie in"),
        ({"batch_size": 0}, "batch_size must lie in"),
        ({"smoothing": 1.5}, "smoothing must lie in"),
        ({"gamma": -1.0}, "gamma must lie in"),
        ({"momentum": -0.1}, "momentum must lie in"),
        ({"weight_decay": math.nan}, "weight_decay must lie in"),
        ({"warmup": 2.0}, "warmup must lie in"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": math.nan}, "lr must be above 0"),
        ({"lr": math.inf}, "lr must be above 0"),
    ],
)
def test_a_wrong_recipe_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=says):
        loop.run(replace(SHORT, **change), tmp_path / "run", separable(6))
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- the schedule


def test_the_step_schedule() -> None:
    recipe = Recipe(lr=0.4, warmup=0.1, schedule="step")
    expected = {0.05: 0.2, 0.1: 0.4, 0.49: 0.4, 0.5: 0.04, 0.74: 0.04, 0.75: 0.004, 0.99: 0.004}
    for done, rate in expected.items():
        assert learning_rate(recipe, done) == pytest.approx(rate), done


def test_the_cosine_schedule() -> None:
    recipe = Recipe(lr=0.4, warmup=0.2, schedule="cosine")
    expected = {0.1: 0.2, 0.2: 0.4, 0.4: 0.2 + 0.2 * math.sqrt(0.5), 0.6: 0.2, 1.0: 0.0}
    for done, rate in expected.items():
        assert learning_rate(recipe, done) == pytest.approx(rate, abs=1e-12), done


@pytest.mark.parametrize("warmup", [0.0, 1e-5, 0.05, 1.0])
@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_the_rate_is_positive_and_never_above_the_peak(schedule: str, warmup: float) -> None:
    recipe = Recipe(lr=0.4, warmup=warmup, schedule=schedule)
    rates = [learning_rate(recipe, step / 500) for step in range(500)]
    assert all(0 < rate <= 0.4 for rate in rates)
    rising = math.ceil(500 * warmup)
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)


def test_the_schedule_reaches_the_optimizer(tmp_path: Path) -> None:
    recipe = replace(SHORT, epochs=4, warmup=0.0)
    done = loop.run(recipe, tmp_path, separable())
    total = 12  # 4 epochs of 3 steps; an epoch logs the rate of its last step
    expected = [learning_rate(recipe, (3 * epoch + 2) / total) for epoch in range(4)]
    assert [row["lr"] for row in done.rows] == expected
    assert len(set(expected)) == 3


def test_overrides_of_none_change_nothing() -> None:
    assert with_overrides(SHORT, lr=None, seed=9) == replace(SHORT, seed=9)
