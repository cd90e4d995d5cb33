"""A model in memory, ready to run, and whether it is still that of its file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from nls_core import cams, nets, zoo
from nls_core.analysis import cost
from nls_core.listing import CONFIG
from nls_core.types import Manifest

Stamp = tuple[int, int, int]  # of a file: inode, size in bytes, time of the last change in ns


@dataclass(frozen=True)
class Loaded:
    """A model ready to run, with its manifest, its target layers, and what it costs.

    Its batch norms lie in the convolutions before them: attacks take two thirds of the time.
    """

    model: nn.Module
    manifest: Manifest
    layers: dict[str, cams.Shape]
    seconds: float  # of a forward pass of one picture, as measured when it was loaded
    stamp: Stamp | None  # of the manifest's file, before it was read

    @cached_property
    def bytes(self) -> int:
        """What its weights take: each request asks of all models in memory."""
        return sum(t.numel() * t.element_size() for t in self.model.state_dict().values())

    def threads(self, available: int) -> int:
        """How many threads should run it: one, where more would wait for each other."""
        return cost.threads_for(self.seconds, available)

    def is_current(self, models_dir: Path) -> bool:
        """Whether the manifest's file is the one that was read; nothing is read again for that."""
        return self.stamp is not None and self.stamp == stamp_of(self.manifest.id, models_dir)


def stamp_of(model_id: str, models_dir: Path) -> Stamp | None:
    """What changes with a model's manifest; None where there is no such file."""
    try:
        found = (models_dir / model_id / CONFIG).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def load(model_id: str, models_dir: Path, device: torch.device) -> Loaded:
    """Read a model and measure a forward pass, in the compute lane; errors as `zoo.load`."""
    stamp = stamp_of(model_id, models_dir)
    model, manifest = zoo.load(model_id, models_dir, device)
    shape = (1, manifest.channels, manifest.input_size, manifest.input_size)
    layers = cams.layer_shapes(model, shape)  # of the model as it is trained and named
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    quick = nets.folded(model, x)
    return Loaded(quick, manifest, layers, cost.forward_seconds(quick, x), stamp)
