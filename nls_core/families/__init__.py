"""The families of models: one `Family` record each, in the plain dict `FAMILIES`.

Models of a family that is not declared here (trained elsewhere, put into the models folder) are
served all the same: `protocol_of`, `strengths_of` and `ordered` answer for any name.
"""

from __future__ import annotations

from collections.abc import Iterable

from nls_core.errors import choose
from nls_core.families import fashion, photos
from nls_core.families.family import (
    OUT_OF_FOLD,
    SPLIT,
    Aberrations,
    Attacked,
    Baselines,
    Family,
    Masks,
    Strengths,
)

__all__ = [
    "FAMILIES",
    "OUT_OF_FOLD",
    "SPLIT",
    "Aberrations",
    "Attacked",
    "Baselines",
    "Family",
    "Masks",
    "Strengths",
    "of",
    "ordered",
    "protocol_of",
    "strengths_of",
]

# in the order of menus; families without an entry come after these
FAMILIES: dict[str, Family] = {family.name: family for family in (fashion.FAMILY, photos.FAMILY)}


def of(name: str) -> Family:
    """The record of a family, by its name or by the id of a model, `<family>/<cell>`.

    Raises:
        UnknownName: it is not declared; the message lists those that are.
    """
    return choose("family", name.split("/", maxsplit=1)[0], FAMILIES)


def protocol_of(name: str) -> str:
    """By which protocol a family's models are measured; 'split' for one that is not declared.

    `name` is a family's, or the id of a model.
    """
    known = FAMILIES.get(name.split("/", maxsplit=1)[0])
    return known.protocol if known else SPLIT


def strengths_of(name: str) -> Strengths:
    """How strong L∞ attacks on a family's models are; `name` is its own, or the id of a model."""
    known = FAMILIES.get(name.split("/", maxsplit=1)[0])
    return known.strengths if known else Strengths()


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Families as menus list them: the declared ones in their order, then the others by name.

    So a family that somebody adds never takes the first place, whatever its name.
    """
    places = {name: place for place, name in enumerate(FAMILIES)}
    return tuple(sorted(set(names), key=lambda name: (places.get(name, len(places)), name)))
