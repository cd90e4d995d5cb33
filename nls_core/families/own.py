"""A family of somebody's own images: the pair that shows what the normalized loss does to them."""

from __future__ import annotations

from collections.abc import Sequence

from nls_core.errors import InvalidInput
from nls_core.families import FAMILIES, fashion
from nls_core.families.family import Family
from nls_core.families.recipe import Recipe

PAIR = ("ce", "nls")
SEARCHED = 6  # a run of the search has a sixth of the epochs


def family(
    name: str, recipe: Recipe, command: str, losses: Sequence[str] = PAIR, rate: float | None = None
) -> Family:
    """The record of a family that is not declared: one cell for each loss, with one padding.

    Args:
        name: the first part of the models' ids.
        recipe: shared by all cells; its data set is the family's.
        command: what makes it again.
        losses: keys of LOSSES; the first is the baseline.
        rate: of all cells, without a search.

    Raises:
        InvalidInput: the project has a family of that name.
    """
    if name in FAMILIES:
        raise InvalidInput(f"{name} is a family of the project: `{FAMILIES[name].command}`")
    tried = {loss: fashion.FAMILY.rates.get(loss, fashion.FAMILY.rates["ce"]) for loss in losses}
    return Family(
        name,
        recipe,
        rates=tried if rate is None else dict.fromkeys(losses, (rate,)),
        search_epochs=max(1, recipe.epochs // SEARCHED),
        paddings=(recipe.padding,),
        headline=tuple(f"{loss}-{recipe.padding}" for loss in losses),
        made_by=command,
    )
