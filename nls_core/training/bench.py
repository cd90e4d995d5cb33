"""An epoch of `nls train` beside the loop that tutorials write, for `nls bench`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nls_core.data.datasets import Data
from nls_core.families.recipe import Recipe
from nls_core.training import loop

Work = Callable[[], object]
CLASSES = 10


@dataclass(frozen=True)
class Epochs:
    """Both ways to train on the same images once; `amp`: whether ours chose bf16 autocast."""

    images: int
    plain: Work
    ours: Work
    amp: bool

    @property
    def aim(self) -> float:
        """What ours may take of the plain one's time."""
        return 1 / 2.5 if self.amp else 1 / 1.5


def epochs(folder: Path, recipe: Recipe, images: int = 1_280) -> Epochs:
    """An epoch of a recipe on noise of 28 pixels.

    Args:
        folder: an empty one, for the run.
        recipe: what both train.
        images: how many there are; a tenth is held out by both.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 1, 28, 28), generator=generator).byte()
    names = tuple(f"class {k}" for k in range(CLASSES))
    data = Data("noise", pixels, torch.arange(images) % CLASSES, names, "center-crop")
    trainer = loop.Trainer(recipe, folder, data)
    trainer.start(False, time.perf_counter, lambda line: None)

    def ours() -> object:
        trainer.position.step = 0
        return deque(trainer.epoch(), maxlen=0)

    plain = _plain(recipe, loop.parts_of(data, recipe)[0])
    return Epochs(trainer.steps * recipe.batch_size, plain, ours, bool(trainer.recipe.amp))


class _Files(Dataset[tuple[Tensor, int]]):
    """Images as a data set of torchvision gives them: one by one, each changed by itself."""

    def __init__(self, data: Data) -> None:
        from torchvision import transforms  # noqa: PLC0415 - two seconds

        mean, deviation = data.statistics()
        self.arrays, self.labels = data.images[:, 0].numpy(), data.labels.tolist()
        self.change = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, deviation),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.change(Image.fromarray(self.arrays[index])), self.labels[index]


def _plain(recipe: Recipe, data: Data) -> Work:
    """The same network and optimizer in float32, over a DataLoader."""
    network = loop.make_model(recipe, data).net
    loader = DataLoader(_Files(data), recipe.batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(network.parameters(), recipe.lr, momentum=recipe.momentum)

    def epoch() -> object:
        network.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return network

    return epoch
