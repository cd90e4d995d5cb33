"""What a run leaves in its folder: the files' names, their contents, and how they are read."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from nls_core import files
from nls_core.errors import CheckpointError, brief
from nls_core.families.recipe import Recipe

LAST = "last.pt"
BEST = "best.pt"
LOG = "log.csv"
DIVERGED = "diverged.json"
BEST_NLL = "best_nll.pt"  # early stopping by a proper score, a baseline of the calibration claims


@dataclass
class Position:
    """Where a run stands; all that last.pt holds beside tensors and the recipe."""

    epoch: int = 0
    step: int = 0  # within the epoch
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    best_nll: float = math.inf
    best_nll_epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)  # one for each finished epoch


def write_weights(path: Path, model: nn.Module, recipe: Recipe, **more: Any) -> None:
    """Write best.pt or best_nll.pt, and with `more` last.pt, whole or not at all."""
    files.write_checkpoint(path, {"model": model.state_dict(), "recipe": recipe.to_dict()} | more)


def read(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Read last.pt, best.pt or best_nll.pt of this recipe.

    Raises:
        CheckpointError: damaged, or made by another recipe.
    """
    state = files.read_checkpoint(path)
    try:
        made = Recipe(**state["recipe"])
    except (KeyError, TypeError) as error:
        reason = brief(repr(error), 100)
        raise CheckpointError(f"{path} is damaged ({reason}); remove it to train anew") from error
    if not recipe.allows(made.to_dict()):
        named = {k: v for k, v in asdict(made).items() if v != getattr(recipe, k)}
        raise CheckpointError(f"{path} was made by another recipe, with {named}")
    return state


def write_log(out: Path, rows: list[dict[str, float]]) -> None:
    """Write log.csv with a row for each finished epoch, and the last row as TensorBoard events."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - of the extra `train`

    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[-1]))
    writer.writeheader()
    for row in rows:  # whole, so that a resumed run leaves no double rows
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})
    files.write_text(out / LOG, text.getvalue())  # `grid` reads it meanwhile
    with SummaryWriter(str(out)) as board:
        for key, value in rows[-1].items():
            board.add_scalar(key, value, int(rows[-1]["epoch"]))


def write_diverged(out: Path, recipe: Recipe, message: str) -> None:
    """Record that the run ended with a loss that is not finite, so that a grid passes it over."""
    files.write_json(out / DIVERGED, {"recipe": recipe.to_dict(), "message": message})
