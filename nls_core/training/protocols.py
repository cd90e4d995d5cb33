"""The protocols by which families are trained and measured, and `train` for any family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nls_core.errors import InvalidInput, choose
from nls_core.families import OUT_OF_FOLD, SPLIT, Family
from nls_core.settings import Settings
from nls_core.training import grid, out_of_fold_publish
from nls_core.training.options import Options, StageProgress, quiet
from nls_core.types import Manifest


@dataclass(frozen=True)
class Protocol:
    """How families are trained; `accuracy` says of what the published one is, `unit` what counts.

    `options` are the fields of `Options` that it honours.
    """

    train: Callable[[Family, Settings, Options, StageProgress], list[Manifest]]
    options: tuple[str, ...]
    accuracy: str
    unit: str


PROTOCOLS: dict[str, Protocol] = {
    SPLIT: Protocol(
        grid.train_family,
        ("runs", "jobs", "seeds", "finished", "download", "aberrations", "baselines", "missing"),
        accuracy="accuracy",
        unit="epochs",
    ),
    # the objects are made by `nls data`, not fetched
    OUT_OF_FOLD: Protocol(
        out_of_fold_publish.train_family,
        ("runs", "jobs", "seeds", "finished"),
        accuracy="accuracy out of fold",
        unit="images",
    ),
}


def check(family: Family, options: Options) -> Protocol:
    """The protocol of a family, if it honours the options.

    Raises:
        UnknownName: the family names no protocol of `PROTOCOLS`.
        InvalidInput: it does not honour an option that is not at its default.
    """
    protocol = choose("protocol", family.protocol, PROTOCOLS)
    refused = [f"--{name}" for name in options.changed() if name not in protocol.options]
    if refused:
        raise InvalidInput(
            f"{family.name} is trained by the protocol {family.protocol}, which has no "
            f"{', '.join(refused)}; leave that out: `{family.command}`"
        )
    return protocol


def train(
    family: Family, settings: Settings, options: Options, progress: StageProgress = quiet
) -> list[Manifest]:
    """Train and publish a family, by its protocol; what is finished is not done again.

    Args:
        family: what to train.
        settings: where models and data are.
        options: how; those that the protocol does not honour are refused.
        progress: called as work goes on.

    Returns:
        The manifests of the family's models.

    Raises:
        UnknownName, InvalidInput: as `check`.
        NLSLabError: as the protocol.
    """
    return check(family, options).train(family, settings, options, progress)
