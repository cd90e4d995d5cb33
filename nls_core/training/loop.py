"""The training loop: one recipe in, checkpoints and a log out.

Every random draw is a function of (seed, epoch, step), and a checkpoint holds the position within
the epoch, so a stopped run goes on exactly where it was. Under `torchrun` each process takes its
share of the same global batch.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nls_core import files, nets
from nls_core.data import datasets
from nls_core.data.aberrations import aberrant
from nls_core.errors import CheckpointError, Interrupted, InvalidInput, NLSLabError
from nls_core.evidence.measure import predict
from nls_core.families.recipe import ABERRANT, Recipe, learning_rate
from nls_core.losses import LOSSES
from nls_core.metrics import calibration
from nls_core.training import checkpoints, precision
from nls_core.training.checkpoints import BEST, BEST_NLL, LAST, Position
from nls_core.training.processes import stop_signals


def run(
    recipe: Recipe,
    out: Path,
    data: datasets.Data,
    *,
    resume: bool = False,
    max_steps: int | None = None,
    device: torch.device | None = None,
    progress: Callable[[Position, int], None] = lambda position, steps: None,
    clock: Callable[[], float] = time.perf_counter,
    log: Callable[[str], None] = lambda line: None,
) -> Position:
    """Train one network and leave its best (on validation) and last checkpoints in `out`.

    best.pt holds the epoch of the highest validation accuracy, best_nll.pt that of the lowest
    validation NLL.

    Args:
        recipe: what to train; `check` is called first.
        out: folder for last.pt, best.pt, best_nll.pt, log.csv and TensorBoard events.
        data: the training split, clean; `parts_of` holds validation images out of it, and
            makes the recipe's aberrations.
        resume: go on from last.pt where there is one; without it an existing run is an error.
        max_steps: stop after this many steps, the checkpoint written, for tests.
        device: None takes the GPU where there is one.
        progress: called after each step with the position and the steps per epoch.
        clock: seconds, by which a recipe with `amp` None decides.
        log: called with one line that says what was decided so.

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
    _train(trainer, progress, math.inf if max_steps is None else max_steps)
    return trainer.position


def _train(trainer: Trainer, progress: Callable[[Position, int], None], max_steps: float) -> None:
    """Train to the last epoch or to `max_steps`; a signal ends it with all saved."""
    with stop_signals() as stopped:
        while trainer.position.epoch < trainer.recipe.epochs:
            for _ in trainer.epoch():
                progress(trainer.position, trainer.steps)
                if trainer.taken >= max_steps:
                    trainer.save()
                    return
                if number := trainer.in_any_process(stopped()):
                    trainer.interrupt(number)
            trainer.end_epoch()


class Trainer:
    """The state of one run; `run` shows in which order its methods are called."""

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
        self.data, self.held = parts_of(data, recipe)
        if len(self.data) < self.world:
            raise InvalidInput(
                f"{len(self.data)} training images are too few for {self.world} processes"
            )
        self.steps = max(len(self.data) // recipe.batch_size, 1)  # the ragged end is dropped
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
        self.position = Position()
        self.taken = 0

    def start(self, resume: bool, clock: Callable[[], float], log: Callable[[str], None]) -> None:
        """Read last.pt, or begin; settles `recipe.amp` where it is open."""
        last = self.out / LAST
        if last.exists() and not resume:
            raise InvalidInput(f"{self.out} holds a run already; go on with --resume or remove it")
        if self.rank == 0:
            files.remove_partial(self.out)
        if last.exists():
            state = checkpoints.read(last, self.recipe)
            try:
                self.model.load_state_dict(state["model"])
                self.optimizer.load_state_dict(state["optimizer"])
                self.position = Position(**state["progress"])
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
        recipe, position = self.recipe, self.position
        order = torch.randperm(len(self.data), generator=_generator(recipe.seed, position.epoch))
        self.forward.train()
        if recipe.freeze_bn:
            _freeze_batch_norm(self.model)
        while position.step < self.steps:
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
            position.step += 1
            self.taken += 1
            position.loss_sum += value
            position.seconds += time.perf_counter() - begin
            yield

    def _loss(self, model: nn.Module, x: Tensor, y: Tensor, amp: bool) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=amp):
            logits = model(x)
        return LOSSES[self.recipe.loss](logits, y, **self.recipe.loss_options())

    def _done(self) -> float:
        total = self.recipe.epochs * self.steps
        return (self.position.epoch * self.steps + self.position.step) / total

    def _finite(self, value: float) -> float:
        """The number, if it is finite; else the run is recorded as diverged, and ends."""
        if math.isfinite(value):
            return value
        rate = self.optimizer.param_groups[0]["lr"]
        message = (
            f"the loss is not finite at step {self.position.step + 1} of epoch "
            f"{self.position.epoch + 1} (learning rate {rate:.3g}); lower the learning rate"
        )
        checkpoints.write_diverged(self.out, self.recipe, message)
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
        recipe, step = self.recipe, self.position.step
        index = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        index = index[: len(index) // self.world * self.world]  # equal shares: a mean of means
        flips = torch.rand(
            len(index), generator=_generator(recipe.seed, self.position.epoch, step + 1)
        )
        index, flips = index[self.rank :: self.world], flips[self.rank :: self.world]
        x = self.data.images[index].to(self.device).float() / 255
        if recipe.flip:
            x = torch.where((flips < 0.5).to(self.device).view(-1, 1, 1, 1), x.flip(3), x)
        return x.contiguous(memory_format=torch.channels_last), self.data.labels[index].to(x.device)

    def end_epoch(self) -> None:
        """Validate, log, and write the checkpoints."""
        position = self.position
        logits = predict(self.model, self.held.images, amp=bool(self.recipe.amp))
        self._finite(float(logits.abs().max()))
        probs = logits.softmax(1)
        accuracy = calibration.accuracy(probs, self.held.labels)
        position.epoch += 1
        row = {
            "epoch": position.epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": position.loss_sum / max(position.step, 1),
            "val_accuracy": accuracy,
            "val_ece": calibration.ece(probs, self.held.labels),
            "val_nll": calibration.nll(probs, self.held.labels),
            "val_confidence": float(probs.amax(1).mean()),
            "seconds": position.seconds,
        }
        position.rows.append(row)
        position.step, position.loss_sum = 0, 0.0
        if self.rank:
            return
        if accuracy > position.best_accuracy:
            position.best_accuracy, position.best_epoch = accuracy, position.epoch
            self._keep(BEST)
        if row["val_nll"] < position.best_nll:
            position.best_nll, position.best_nll_epoch = row["val_nll"], position.epoch
            self._keep(BEST_NLL)
        checkpoints.write_log(self.out, position.rows)
        self.save()

    def _keep(self, name: str) -> None:
        checkpoints.write_weights(self.out / name, self.model, self.recipe)

    def save(self) -> None:
        """Write last.pt, whole or not at all."""
        if self.rank == 0:
            rest = {"optimizer": self.optimizer.state_dict(), "progress": asdict(self.position)}
            checkpoints.write_weights(self.out / LAST, self.model, self.recipe, **rest)

    def interrupt(self, number: int) -> NoReturn:
        """Save and end the run, which a signal asked to stop."""
        self.save()
        raise Interrupted(
            number,
            f"saved in epoch {self.position.epoch + 1} of {self.recipe.epochs}; "
            "go on with --resume",
        )


def parts_of(data: datasets.Data, recipe: Recipe) -> tuple[datasets.Data, datasets.Data]:
    """The training and the validation part, with the recipe's aberrations drawn from its seed.

    Validation carries them too: what chooses the epoch must not know clean labels that whoever has
    such data lacks. They are the same for all losses and for a resumed run.
    """
    made = {name: getattr(recipe, name) for name in ABERRANT}
    train, held = (
        aberrant(data.take(index), **made, generator=_generator(recipe.seed, -place))
        for place, index in enumerate(datasets.hold_out(data), 1)
    )
    return train, held


def make_model(recipe: Recipe, data: datasets.Data) -> nets.Classifier:
    """A fresh model for a data set, initialized by the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):  # nets are made on the CPU
        torch.manual_seed(recipe.seed)
        net = nets.build(recipe.arch, len(data.classes), data.images.shape[1], recipe.padding)
    return nets.Classifier(net, *data.statistics())


def _generator(*key: int) -> torch.Generator:
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _freeze_batch_norm(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
