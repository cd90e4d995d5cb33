"""What timm and torchvision know of their networks: how they were trained, and their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from nls_core import files, nets
from nls_core.errors import CheckpointError, InvalidInput, brief


@dataclass(frozen=True)
class Stated:
    """What a library says of the pretrained weights of a network.

    `classes` are the names of the logits, empty where it has none; `synsets` WordNet's ids of
    ImageNet's, by name of a class; `size` is the edge of an input in pixels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    licence: str
    classes: tuple[str, ...] = ()
    synsets: tuple[str, ...] = ()


def _of_timm(name: str) -> Stated:
    import timm  # noqa: PLC0415 - takes 2 s
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset  # noqa: PLC0415

    made: Any = timm.get_pretrained_cfg(name)  # there is one of each network that is listed
    subset = infer_imagenet_subset(made.to_dict())
    info: Any = ImageNetInfo(subset) if subset else None
    return Stated(
        tuple(made.mean),
        tuple(made.std),
        int(made.input_size[-1]),
        str(made.license or "other"),
        _once(info.label_descriptions()) if info else (),
        tuple(info.label_names()) if info else (),
    )


def _of_torchvision(name: str) -> Stated:
    from torchvision import models  # noqa: PLC0415 - 160 MB that a server does not need

    best = models.get_model_weights(name).DEFAULT
    how = best.transforms()
    return Stated(
        tuple(how.mean), tuple(how.std), how.crop_size[0], "bsd-3-clause",
        _once(best.meta["categories"]),
    )  # fmt: skip


def _once(names: Any) -> tuple[str, ...]:
    """Class names, a second one of a name with its place behind it: ImageNet has two cranes."""
    seen: set[str] = set()
    made = []
    for place, name in enumerate(names):
        made.append(f"{name} ({place})" if name in seen else str(name))
        seen.add(name)
    return tuple(made)


STATED: dict[str, Callable[[str], Stated]] = {"timm": _of_timm, "torchvision": _of_torchvision}


def stated(arch: str) -> Stated:
    """What is known of an architecture `<library>:<name>`.

    Raises:
        UnknownName, ExtraMissing: as `nets.architecture`.
        InvalidInput: it is not one of a library.
    """
    library, _, name = arch.partition(":")
    if library not in STATED:
        raise InvalidInput(f"expected one of {[f'{each}:NAME' for each in STATED]}; got {arch!r}")
    nets.architecture(arch)
    return STATED[library](name)


def pretrained(arch: str) -> nn.Module:
    """A network with the weights that its library fetches, of three channels.

    Raises:
        CheckpointError: they could not be fetched.
    """
    library, _, name = arch.partition(":")
    try:
        if library == "timm":
            import timm  # noqa: PLC0415

            net: nn.Module = timm.create_model(name, pretrained=True)
        else:
            from torchvision import models  # noqa: PLC0415

            net = models.get_model(name, weights="DEFAULT")
    except Exception as error:  # no network, no such weights: each library raises its own
        raise CheckpointError(
            f"the weights of {arch} could not be fetched ({brief(error)}); where there is no "
            "network, give them as --weights FILE.safetensors"
        ) from error
    return net


def with_weights(arch: str, classes: int, path: Path) -> nn.Module:
    """A network of three channels with the weights of a safetensors file.

    Raises:
        CheckpointError: the file is missing, damaged, or of another network.
    """
    try:
        tensors = load_tensors(files.read_bytes(path))
    except SafetensorError as error:
        raise CheckpointError(f"{files.shown(path)} is no safetensors file: {error}") from error
    net = nets.build(arch, classes, 3)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{files.shown(path)} does not fit {arch} with {classes} classes: {brief(error)}"
        ) from error
    return net
