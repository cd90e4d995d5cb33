"""The training loop: one recipe in, checkpoints and a log out.

Every random draw is a function of (seed, epoch, step), and a checkpoint holds the position within
the epoch, so a stopped run goes on exactly where it was. Under `torchrun` each process takes its
share of the same global batch.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from nls_core import files, nets
from nls_core.data import datasets
from nls_core.errors import CheckpointError, Interrupted, InvalidInput, NLSLabError, brief
from nls_core.evidence.measure import predict
from nls_core.families.recipe import Recipe, learning_rate
from nls_core.losses import LOSSES
from nls_core.metrics import calibration
from nls_core.training import precision
from nls_core.training.processes import stop_signals

LAST, BEST, LOG, DIVERGED = "last.pt", "best.pt", "log.csv", "diverged.json"
BEST_NLL = "best_nll.pt"  # early stopping by a proper score, a baseline of the calibration claims


@dataclass
class Position:
    """Where a run stands; all that a checkpoint holds beside tensors."""

    epoch: int = 0
    step: int = 0  # within the epoch
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    best_nll: float = math.inf
    best_nll_epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)


def run(
    recipe: Recipe,
    out: Path,
    data: datasets.Data,
    *,
    resume: bool = False,
    max_steps: int | None = None,
    device: torch.device | None = None,
    report: Callable[[Position, int], None] = lambda progress, steps: None,
    clock: Callable[[], float] = time.perf_counter,
    log: Callable[[str], None] = lambda line: None,
) -> Position:
    """Train one network and leave its best (on validation) and last checkpoints in `out`.

    best.pt holds the epoch of the highest validation accuracy, best_nll.pt that of the lowest
    validation NLL.

    Args:
        recipe: what to train; `check` is called first.
        out: folder for last.pt, best.pt, best_nll.pt, log.csv and TensorBoard events.
        data: the training split; validation images are held out of it by `datasets.divide`.
        resume: go on from last.pt where there is one; without it an existing run is an error.
        max_steps: stop after this many steps, the checkpoint written, for tests.
        device: None takes the GPU where there is one.
        report: called after each step with the position and the steps per epoch.
        clock: seconds, by which a recipe with `amp` None decides.
        log: told in one line what was decided so.

    Raises:
        InvalidInput: a bad recipe, too few images, or `out` holds a run and `resume` is off.
        CheckpointError: last.pt is damaged, of another recipe or of other data.
        NLSLabError: the loss is no longer finite.
        NotWritten: the disk is full; the checkpoint before is whole.
        Interrupted: Ctrl-C or SIGTERM came; the checkpoint is written.
    """
    recipe.check()
    trainer = Trainer(recipe, out, data, device)
    trainer.start(resume, clock, log)
    with stop_signals() as stopped:
        while trainer.progress.epoch < recipe.epochs:
            for _ in trainer.epoch():
                report(trainer.progress, trainer.steps)
                if max_steps is not None and trainer.taken >= max_steps:
                    trainer.save()
                    return trainer.progress
                if number := trainer.in_any_process(stopped()):
                    trainer.save()
                    raise Interrupted(
                        number,
                        f"saved in epoch {trainer.progress.epoch + 1} of {recipe.epochs}; "
                        "go on with --resume",
                    )
            trainer.end_epoch()
    return trainer.progress


class Trainer:
    """The state of one run; `run` is its reader's guide."""

    def __init__(
        self, recipe: Recipe, out: Path, data: datasets.Data, device: torch.device | None = None
    ) -> None:
        self.recipe, self.out = recipe, out
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if recipe.batch_size % self.world:
            raise InvalidInput(
                f"batch size {recipe.batch_size} is not a multiple of {self.world} processes"
            )
        auto = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.device = device or auto
        train, held = datasets.hold_out(data)
        if len(train) < self.world:
            raise InvalidInput(
                f"{len(train)} training images are too few for {self.world} processes"
            )
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
        self.progress = Position()
        self.taken = 0

    def start(self, resume: bool, clock: Callable[[], float], log: Callable[[str], None]) -> None:
        """Read last.pt, or begin; settles `recipe.amp` where it is open."""
        last = self.out / LAST
        if last.exists() and not resume:
            raise InvalidInput(f"{self.out} holds a run already; go on with --resume or remove it")
        if self.rank == 0:
            files.remove_partial(self.out)
        if last.exists():
            state = load_checkpoint(last, self.recipe)
            try:
                self.model.load_state_dict(state["model"])
                self.optimizer.load_state_dict(state["optimizer"])
                self.progress = Position(**state["progress"])
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                raise CheckpointError(f"{last} does not fit this data set: {error}") from error
            self.recipe = Recipe(**state["recipe"])  # `amp` as the run chose it
        if self.recipe.amp is None:
            self.recipe = replace(self.recipe, amp=self._choose_amp(clock, log))

    def _choose_amp(self, clock: Callable[[], float], log: Callable[[str], None]) -> bool:
        """Autocast on a GPU; on a processor what a few steps show, the same in all processes."""
        if self.device.type != "cpu":
            return True
        self.model.train()
        x, y = self._batch(torch.arange(len(self.data)))
        found = precision.measure(
            self.model, lambda model, amp: self._loss(model, x, y, amp), clock=clock
        )
        slower = self.in_any_process(int(not found.amp))
        if self.rank == 0:
            log(replace(found, amp=not slower).line)
        return not slower

    def epoch(self) -> Iterator[None]:
        """Train the rest of the current epoch, a step at a time."""
        recipe, progress = self.recipe, self.progress
        order = torch.randperm(len(self.data), generator=_generator(recipe.seed, progress.epoch))
        self.forward.train()
        if recipe.freeze_bn:
            _freeze_batch_norm(self.model)
        while progress.step < self.steps:
            begin = time.perf_counter()
            x, y = self._batch(order)
            rate = learning_rate(recipe, self._done())
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self._loss(self.forward, x, y, bool(recipe.amp))
            value = self._finite(float(loss.detach()))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            progress.step += 1
            self.taken += 1
            progress.loss_sum += value
            progress.seconds += time.perf_counter() - begin
            yield

    def _loss(self, model: nn.Module, x: Tensor, y: Tensor, amp: bool) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=amp):
            logits = model(x)
        return LOSSES[self.recipe.loss](logits, y, **self.recipe.loss_options())

    def _done(self) -> float:
        total = self.recipe.epochs * self.steps
        return (self.progress.epoch * self.steps + self.progress.step) / total

    def _finite(self, value: float) -> float:
        """Pass a number on, or leave word for `grid` and end the run."""
        if math.isfinite(value):
            return value
        rate = self.optimizer.param_groups[0]["lr"]
        message = (
            f"the loss is not finite at step {self.progress.step + 1} of epoch "
            f"{self.progress.epoch + 1} (learning rate {rate:.3g}); lower the learning rate"
        )
        files.write_json(self.out / DIVERGED, {"recipe": self.recipe.to_dict(), "message": message})
        raise NLSLabError(message)

    def in_any_process(self, number: int) -> int:
        """The largest number that a process has, so that all leave at one step."""
        if self.world == 1:
            return number
        votes = torch.tensor(number, device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return int(votes)

    def _batch(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """This process's share of the global batch: x (B, C, H, W) in [0, 1] and labels (B,)."""
        recipe, step = self.recipe, self.progress.step
        index = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        index = index[: len(index) // self.world * self.world]  # equal shares: a mean of means
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
        logits = predict(self.model, self.held.images, amp=bool(self.recipe.amp))
        self._finite(float(logits.abs().max()))
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
            self._keep(BEST)
        if row["val_nll"] < progress.best_nll:
            progress.best_nll, progress.best_nll_epoch = row["val_nll"], progress.epoch
            self._keep(BEST_NLL)
        self._log(row)
        self.save()

    def _keep(self, name: str) -> None:
        weights = {"model": self.model.state_dict(), "recipe": self.recipe.to_dict()}
        files.write_checkpoint(self.out / name, weights)

    def _log(self, row: dict[str, float]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row))
        writer.writeheader()
        for past in self.progress.rows:  # whole, so that a resumed run leaves no double rows
            writer.writerow({key: f"{value:.6g}" for key, value in past.items()})
        files.write_text(self.out / LOG, text.getvalue())  # `grid` reads it meanwhile
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
                "recipe": self.recipe.to_dict(),
            }
            files.write_checkpoint(self.out / LAST, state)


def make_model(recipe: Recipe, data: datasets.Data) -> nets.Classifier:
    """A fresh model for a data set, initialized by the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):  # nets are made on the CPU
        torch.manual_seed(recipe.seed)
        net = nets.build(recipe.arch, len(data.classes), data.images.shape[1], recipe.padding)
    return nets.Classifier(net, *data.statistics())


def load_checkpoint(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Read last.pt or best.pt of this recipe.

    Raises:
        CheckpointError: damaged, or made by another recipe.
    """
    state = files.read_checkpoint(path)
    try:
        made = Recipe(**state["recipe"])
    except (KeyError, TypeError) as error:
        said = brief(repr(error), 100)
        raise CheckpointError(f"{path} is damaged ({said}); remove it to train anew") from error
    if not recipe.allows(made.to_dict()):
        named = {k: v for k, v in asdict(made).items() if v != getattr(recipe, k)}
        raise CheckpointError(f"{path} was made by another recipe, with {named}")
    return state


def _generator(*key: int) -> torch.Generator:
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _freeze_batch_norm(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
