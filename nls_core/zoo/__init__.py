"""`models/` on disk <-> `nn.Module` in memory: manifests, checksums, model cards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from nls_core import files, nets
from nls_core.errors import CheckpointError, InvalidInput, NLSLabError, UnknownModel, brief, unknown
from nls_core.listing import CONFIG, ID, available, summary
from nls_core.settings import Settings
from nls_core.types import Manifest
from nls_core.zoo import cards, manifests
from nls_core.zoo.cards import WEIGHTS

CARD = "README.md"
__all__ = ["WEIGHTS", "available", "summary"]  # beside what is defined here
_ID = re.compile(ID)


def folder_of(model_id: str, models_dir: Path) -> Path:
    """The folder of a model.

    Raises:
        UnknownModel: the id is malformed or has no manifest.
    """
    folder = models_dir / model_id
    if not _ID.fullmatch(model_id) or not (folder / CONFIG).exists():
        raise UnknownModel(unknown("model", model_id, available(models_dir)))
    return folder


def read_manifest(model_id: str, models_dir: Path) -> Manifest:
    """The manifest of a model.

    Raises:
        UnknownModel: no such model.
        CheckpointError: the manifest is damaged.
    """
    return manifests.read(model_id, folder_of(model_id, models_dir) / CONFIG)


def verify(models_dir: Path) -> dict[str, str | None]:
    """Check every model as `load` does: manifest, sha256 of the weights, the fit of the tensors.

    Returns:
        Each id of `available`: None where the model can be used, else the sentence that says why
        not. One bad model hides no other, whatever is wrong with it.
    """
    return {model_id: _complaint(model_id, models_dir) for model_id in available(models_dir)}


def _complaint(model_id: str, models_dir: Path) -> str | None:
    try:
        _read(model_id, models_dir)
    except NLSLabError as error:
        return str(error)
    except Exception as error:  # nobody knows what is wrong, and the others must be served
        return f"{model_id} cannot be loaded: {type(error).__name__} {brief(error)}"
    return None


def load(
    model_id: str, models_dir: Path | None = None, device: torch.device | str = "cpu"
) -> tuple[nets.Classifier, Manifest]:
    """Load a model, its weights checked against the manifest's sha256.

    Args:
        model_id: `<family>/<loss>-<padding>`, for example 'fashion/nls-partial'.
        models_dir: None takes the setting NLS_MODELS_DIR, by default the repository's `models/`.
        device: where the model goes.

    Returns:
        The model, from x in [0, 1] (B, C, H, W) at the manifest's size to logits (B, K), in eval
        mode with frozen float32 weights; and its manifest.

    Raises:
        UnknownModel: no such model.
        CheckpointError: the weights are missing, damaged, or not those of the manifest.
    """
    net, manifest = _read(model_id, models_dir or Settings().models_dir)
    model = nets.Classifier(net.float(), manifest.mean, manifest.std)
    # one layout everywhere, else rounding differs between commands; and it is the fastest on CPUs
    model.to(memory_format=torch.channels_last)
    return model.eval().requires_grad_(False).to(device), manifest


def _read(model_id: str, models_dir: Path) -> tuple[nn.Module, Manifest]:
    """A network with its weights as they are stored, in float16; errors as `load`."""
    manifest = read_manifest(model_id, models_dir)
    return network(manifest, folder_of(model_id, models_dir)), manifest


def network(manifest: Manifest, folder: Path) -> nn.Module:
    """The network of a manifest with the weights of a folder, in float16.

    Raises:
        CheckpointError: the weights are missing, damaged, or not those of the manifest.
    """
    tensors = _read_weights(folder / WEIGHTS, manifest)
    try:
        with _cheaply(manifest.arch):
            net = nets.build(
                manifest.arch, len(manifest.classes), manifest.channels, manifest.padding
            )
        net.load_state_dict(tensors, assign=True)
    except (RuntimeError, InvalidInput) as error:
        raise CheckpointError(
            f"the weights of {manifest.id} do not fit its manifest ({manifest.arch}, "
            f"{len(manifest.classes)} classes, {manifest.channels} channels): {brief(error)}"
        ) from error
    return net


def _cheaply(arch: str) -> torch.device:
    """Where to make a network whose weights are replaced at once: nowhere, where none is drawn.

    Networks of libraries may compute with what they draw, and keep what no file holds.
    """
    return torch.device("meta" if arch in nets.ARCHITECTURES else "cpu")


def _read_weights(path: Path, manifest: Manifest) -> dict[str, Tensor]:
    try:
        data = files.read_bytes(path)
    except CheckpointError as error:
        raise CheckpointError(f"the weights of {manifest.id} cannot be used: {error}") from error
    got = hashlib.sha256(data).hexdigest()
    if got != manifest.sha256:
        raise CheckpointError(
            f"the weights of {manifest.id} were altered: expected sha256 {manifest.sha256}, "
            f"got {got}; restore the file or train the model again"
        )
    try:
        tensors: dict[str, Tensor] = load_tensors(data)
    except SafetensorError as error:
        message = f"the weights of {manifest.id} are damaged: {brief(error)}"
        raise CheckpointError(message) from error
    # numpy's: torch's own is some twenty times as slow in float16
    bad = [name for name, tensor in tensors.items() if not np.isfinite(tensor.numpy()).all()]
    if bad:  # every answer would be NaN
        raise CheckpointError(f"these weights of {manifest.id} are not finite: {brief(bad)}")
    return tensors


def store(net: nn.Module, manifest: Manifest, models_dir: Path) -> Manifest:
    """Write a network as float16 safetensors, with its manifest.

    Returns:
        The manifest with the sha256 of what was written.

    Raises:
        InvalidInput: the manifest's id is not `<family>/<name>`.
        CheckpointError: a weight is not finite in float16; nothing is written.
        NotWritten: the disk is full.
    """
    if not _ID.fullmatch(manifest.id):
        raise InvalidInput(f"expected an id like 'fashion/nls-partial'; got {manifest.id!r}")
    return store_in(models_dir / manifest.id, net, manifest)


def store_in(folder: Path, net: nn.Module, manifest: Manifest) -> Manifest:
    """As `store`, into a folder of any name."""
    half = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in net.state_dict().items()
    }
    bad = [name for name, tensor in half.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(f"these weights of {manifest.id} are not finite in float16: {bad}")
    data = save_tensors(half)
    files.write_bytes(folder / WEIGHTS, data)
    manifest = replace(manifest, sha256=hashlib.sha256(data).hexdigest())
    _write_manifest(manifest, folder)
    return manifest


def write_manifest(manifest: Manifest, models_dir: Path) -> None:
    """Write a manifest and the model card made from it."""
    _write_manifest(manifest, models_dir / manifest.id)


def _write_manifest(manifest: Manifest, folder: Path) -> None:
    files.write_json(folder / CONFIG, asdict(manifest), indent=2)
    files.write_text(folder / CARD, cards.card(manifest))


def with_measured(
    manifest: Manifest,
    metrics: Mapping[str, Any],
    temperature: float,
    reliability: Mapping[str, Any],
    limits: Mapping[str, Any],
) -> Manifest:
    """The manifest with the figures that `measure.measure` found."""
    return replace(
        manifest,
        metrics=dict(metrics),
        temperature=temperature,
        reliability=dict(reliability),
        limits=dict(limits),
    )
