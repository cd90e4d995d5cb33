"""Models as folders that travel: into a models folder, and from and to the Hugging Face Hub.

A folder of one model is what `models/<family>/<name>` is: config.json, model.safetensors and a
card. Nothing else is fetched, and no pickle is read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from torch import nn

from nls_core import files, nets, zoo
from nls_core.errors import CheckpointError, brief
from nls_core.listing import CONFIG
from nls_core.types import Manifest
from nls_core.zoo import manifests

KEPT = (CONFIG, zoo.WEIGHTS, zoo.CARD)


class Model(nets.Classifier, PyTorchModelHubMixin):
    """A classifier with its manifest, for `from_pretrained`, `save_pretrained`, `push_to_hub`.

        model = Model.from_pretrained("user/nls-partial")      # or a folder
        model.push_to_hub("user/nls-partial")

    It answers x in [0, 1] (B, C, H, W) with logits (B, K), as `zoo.load` gives it.
    """

    def __init__(self, net: nn.Module, manifest: Manifest) -> None:
        super().__init__(net, manifest.mean, manifest.std)
        self.manifest = manifest

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **how: Any) -> Model:
        """A model of a folder or a repository; the arguments are huggingface_hub's.

        Raises:
            CheckpointError: it cannot be fetched, or is not what its manifest says.
        """
        folder = Path(model_id)
        if not folder.is_dir():
            fetching = {k: how[k] for k in FETCHING if how.get(k) is not None}
            folder = fetched(model_id, **fetching)
        net, manifest = read(folder)
        model = cls(net.float(), manifest)
        model.to(memory_format=torch.channels_last)  # rounds as `zoo.load`
        return model.eval().requires_grad_(False).to(how.get("map_location", "cpu"))

    def _save_pretrained(self, save_directory: Path) -> None:
        zoo.store_in(save_directory, self.net, self.manifest)


FETCHING = ("revision", "cache_dir", "force_download", "local_files_only", "token")


def fetched(repository: str, **how: Any) -> Path:
    """The files of a model in a repository of the Hub, in its cache.

    Raises:
        CheckpointError: they cannot be fetched.
    """
    try:
        return Path(snapshot_download(repository, allow_patterns=list(KEPT), **how))
    except Exception as error:  # no network, no such repository: of many kinds
        raise CheckpointError(f"{repository} could not be fetched: {brief(error)}") from error


def read(folder: Path) -> tuple[nn.Module, Manifest]:
    """The network and the manifest of a folder of one model, wherever it lies.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not the manifest's.
    """
    try:
        manifest = manifests.parse(files.read_bytes(folder / CONFIG, manifests.MAX_BYTES))
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG} is damaged: {brief(error)}") from error
    return zoo.network(manifest, folder), manifest


def take(folder: Path, models_dir: Path, model_id: str | None = None) -> Manifest:
    """Copy a folder of one model into a models folder, checked, perhaps under another id.

    Raises:
        CheckpointError: as `read`.
        InvalidInput: as `zoo.store`.
    """
    net, manifest = read(folder)
    return zoo.store(net, replace(manifest, id=model_id or manifest.id), models_dir)
