"""The training loop: one recipe in, checkpoints and a log out.

Every random draw is a function of (seed, epoch, step), and a checkpoint holds the position within
the epoch, so a stopped run goes on exactly where it was. Under `torchrun` each process takes its
share of the same global batch.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from nls_core import calibration, datasets, nets
from nls_core.evaluate import predict
from nls_core.losses import LOSSES
from nls_core.types import CheckpointError, InvalidInput, choose, unknown

LAST, BEST, LOG, RESULT = "last.pt", "best.pt", "log.csv", "result.json"
SCHEDULES = ("step", "cosine")


@dataclass(frozen=True)
class Recipe:
    """All that decides a run; the defaults are the paper's: SGD, steps, little augmentation.

    `lr` is the peak rate after a linear warm-up over `warmup` of the steps; 'step' divides it by
    10 at 50 % and 75 %. `batch_size` is global, over all processes.
    """

    dataset: str = "fashion-mnist"
    arch: str = "smallresnet-16"
    loss: str = "ce"
    padding: str = "zero"
    smoothing: float = 0.1
    gamma: float = 0.0
    lr: float = 0.1
    epochs: int = 40
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 1e-6
    schedule: str = "step"
    warmup: float = 0.05
    flip: bool = True
    amp: bool = True
    freeze_bn: bool = False
    seed: int = 0

    def check(self) -> None:
        """Raise InvalidInput for what cannot be trained."""
        choose("loss", self.loss, LOSSES)
        choose("architecture", self.arch, nets.ARCHITECTURES)
        if self.schedule not in SCHEDULES:
            raise InvalidInput(unknown("schedule", self.schedule, SCHEDULES))
        if self.epochs < 1 or self.batch_size < 1:
            raise InvalidInput(
                f"expected at least 1 epoch and a batch of 1; got {self.epochs}, {self.batch_size}"
            )
        if not self.lr > 0:
            raise InvalidInput(f"the learning rate must be above 0; got {self.lr}")


@dataclass
class Progress:
    """Where a run stands; all that a checkpoint holds beside tensors."""

    epoch: int = 0
    step: int = 0  # within the epoch
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)


class Interrupted(Exception):
    """The run was asked to stop; its last checkpoint is written."""


def learning_rate(recipe: Recipe, done: float) -> float:
    """The rate when `done` of all steps, in [0, 1), lie behind."""
    if done < recipe.warmup:
        return recipe.lr * max(done, 1e-3) / recipe.warmup
    if recipe.schedule == "step":
        return recipe.lr * (0.1 if done >= 0.5 else 1.0) * (0.1 if done >= 0.75 else 1.0)
    share = (done - recipe.warmup) / (1 - recipe.warmup)
    return recipe.lr * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * share))))


def run(
    recipe: Recipe,
    out: Path,
    data: datasets.Data,
    *,
    resume: bool = False,
    max_steps: int | None = None,
    report: Callable[[Progress, int], None] = lambda progress, steps: None,
) -> Progress:
    """Train one network and leave the best (on validation) and last checkpoints in `out`.

    Args:
        recipe: what to train; `check` is called first.
        out: folder for last.pt, best.pt, log.csv and TensorBoard events.
        data: the training split; validation images are held out of it by `datasets.divide`.
        resume: go on from last.pt where there is one; without it an existing run is an error.
        max_steps: stop after this many steps, for tests.
        report: called after each step with the position and the steps per epoch.

    Raises:
        InvalidInput: a bad recipe, or `out` holds another run.
        Interrupted: Ctrl-C or SIGTERM came; the checkpoint is written.
    """
    recipe.check()
    trainer = Trainer(recipe, out, data)
    trainer.start(resume)
    with _stop_signals() as stopped:
        while trainer.progress.epoch < recipe.epochs:
            for _ in trainer.epoch():
                report(trainer.progress, trainer.steps)
                if max_steps is not None and trainer.taken >= max_steps:
                    return trainer.progress
                if stopped():
                    trainer.save()
                    raise Interrupted(
                        f"stopped in epoch {trainer.progress.epoch + 1} of {recipe.epochs}; "
                        f"go on with --resume"
                    )
            trainer.end_epoch()
    return trainer.progress


class Trainer:
    """The state of one run; `run` is its reader's guide."""

    def __init__(self, recipe: Recipe, out: Path, data: datasets.Data) -> None:
        self.recipe, self.out = recipe, out
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if recipe.batch_size % self.world:
            raise InvalidInput(
                f"batch size {recipe.batch_size} is not a multiple of {self.world} processes"
            )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        train, held = datasets.divide(len(data))
        self.data, self.held = data.take(train), data.take(held)
        self.steps = max(len(train) // recipe.batch_size, 1)  # the ragged end is dropped
        self.model = make_model(recipe, self.data).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        parallel = DistributedDataParallel(self.model) if self.world > 1 else self.model
        self.forward: nn.Module = parallel
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.progress = Progress()
        self.taken = 0

    def start(self, resume: bool) -> None:
        """Read last.pt, or begin."""
        last = self.out / LAST
        if last.exists() and not resume:
            raise InvalidInput(f"{self.out} holds a run already; go on with --resume or remove it")
        self.out.mkdir(parents=True, exist_ok=True)
        if last.exists():
            state = load_checkpoint(last, self.recipe)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])

    def epoch(self) -> Iterator[None]:
        """Train the rest of the current epoch, a step at a time."""
        recipe, progress = self.recipe, self.progress
        order = torch.randperm(len(self.data), generator=_generator(recipe.seed, progress.epoch))
        self.forward.train()
        if recipe.freeze_bn:
            _freeze_batch_norm(self.model)
        loss_of = LOSSES[recipe.loss]
        while progress.step < self.steps:
            begin = time.perf_counter()
            x, y = self._batch(order)
            rate = learning_rate(recipe, self._done())
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.amp):
                logits = self.forward(x)
            loss = loss_of(logits, y, smoothing=recipe.smoothing, gamma=recipe.gamma)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            progress.step += 1
            self.taken += 1
            progress.loss_sum += float(loss.detach())
            progress.seconds += time.perf_counter() - begin
            yield

    def _done(self) -> float:
        total = self.recipe.epochs * self.steps
        return (self.progress.epoch * self.steps + self.progress.step) / total

    def _batch(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """This process's share of the global batch: x (B, C, H, W) in [0, 1] and labels (B,)."""
        recipe, step = self.recipe, self.progress.step
        index = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        flips = torch.rand(
            len(index), generator=_generator(recipe.seed, self.progress.epoch, step + 1)
        )
        index, flips = index[self.rank :: self.world], flips[self.rank :: self.world]
        x = self.data.images[index].to(self.device).float() / 255
        if recipe.flip:
            x = torch.where((flips < 0.5).to(self.device).view(-1, 1, 1, 1), x.flip(3), x)
        return x.contiguous(memory_format=torch.channels_last), self.data.labels[index].to(x.device)

    def end_epoch(self) -> None:
        """Validate, log, and write the checkpoints."""
        progress = self.progress
        logits = predict(self.model, self.held.images, amp=self.recipe.amp)
        probs = logits.softmax(1)
        accuracy = calibration.accuracy(probs, self.held.labels)
        progress.epoch += 1
        row = {
            "epoch": progress.epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": progress.loss_sum / max(progress.step, 1),
            "val_accuracy": accuracy,
            "val_ece": calibration.ece(probs, self.held.labels),
            "val_nll": calibration.nll(probs, self.held.labels),
            "val_confidence": float(probs.amax(1).mean()),
            "seconds": progress.seconds,
        }
        progress.rows.append(row)
        progress.step, progress.loss_sum = 0, 0.0
        if self.rank:
            return
        if accuracy > progress.best_accuracy:
            progress.best_accuracy, progress.best_epoch = accuracy, progress.epoch
            _write(
                self.out / BEST, {"model": self.model.state_dict(), "recipe": asdict(self.recipe)}
            )
        self._log(row)
        self.save()

    def _log(self, row: dict[str, float]) -> None:
        with (self.out / LOG).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            for past in self.progress.rows:  # whole, so that a resumed run leaves no double rows
                writer.writerow({key: f"{value:.6g}" for key, value in past.items()})
        with SummaryWriter(str(self.out)) as board:
            for key, value in row.items():
                board.add_scalar(key, value, int(row["epoch"]))

    def save(self) -> None:
        """Write last.pt, whole or not at all."""
        if self.rank == 0:
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": asdict(self.progress),
                "recipe": asdict(self.recipe),
            }
            _write(self.out / LAST, state)


def make_model(recipe: Recipe, data: datasets.Data) -> nets.Classifier:
    """A fresh model for a data set, initialized by the recipe's seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        net = nets.build(recipe.arch, len(data.classes), data.images.shape[1], recipe.padding)
    return nets.Classifier(net, *data.statistics())


def load_checkpoint(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Read last.pt or best.pt of this recipe.

    Raises:
        CheckpointError: damaged, or made by another recipe.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        made = Recipe(**state["recipe"])
    except (OSError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it to train anew") from error
    if made != recipe:
        named = {k: v for k, v in asdict(made).items() if v != asdict(recipe)[k]}
        raise CheckpointError(f"{path} was made by another recipe, with {named}")
    return state


def _write(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _generator(*key: int) -> torch.Generator:
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _freeze_batch_norm(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question that the loop asks after each step."""
    asked: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _: asked.append(number)) for name in names}
    try:
        yield lambda: bool(asked)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def processes() -> Iterator[int]:
    """Join the group that torchrun started, if any; yields this process's rank."""
    if "WORLD_SIZE" not in os.environ:
        yield 0
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def with_overrides(recipe: Recipe, **values: Any) -> Recipe:
    """A recipe with the given values, None meaning unchanged."""
    return replace(recipe, **{key: value for key, value in values.items() if value is not None})
