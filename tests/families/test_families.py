"""Families are records in one dict: looked up, ordered and checked, whoever declared them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nls_core import families
from nls_core.cams import CAMS
from nls_core.errors import UnknownName
from nls_core.families import FAMILIES, OUT_OF_FOLD, SPLIT, Family
from nls_core.families.family import L2
from nls_core.families.recipe import Recipe
from nls_core.metrics import unfamiliar


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_declaration_fits_the_registries_it_names(family: Family) -> None:
    assert FAMILIES[family.name] is family
    family.recipe.check()
    assert family.protocol in (SPLIT, OUT_OF_FOLD)
    assert set(family.headline) <= set(family.cells())
    assert set(family.hints) <= set(family.rates)
    assert {score for each in family.hints.values() for score in each} <= set(unfamiliar.SCORES)
    assert set(family.tuned) | set(family.regime_rates) <= set(family.rates)
    replace(family.recipe, **family.regime).check()
    assert family.masks is None or set(family.masks.methods) <= set(CAMS)
    for each in family.ablations.values():
        for changes in each:
            replace(family.recipe, **changes).check()


def test_a_family_is_found_by_its_name_or_the_id_of_a_model() -> None:
    assert families.of("photos") is families.of("photos/nls-zero") is FAMILIES["photos"]
    with pytest.raises(UnknownName, match=r"unknown family 'none'; expected one of \['fashion'"):
        families.of("none")


def test_a_family_without_a_declaration_has_defaults() -> None:
    assert families.protocol_of("theirs/ce-zero") == SPLIT
    assert families.protocol_of("photos/ce-zero") == OUT_OF_FOLD


def test_strengths_fit_the_size_of_the_pictures() -> None:
    photos, others = families.strengths_of("photos/nls-zero"), families.strengths_of("theirs")
    assert photos.slider() == tuple(n / 4 for n in range(1, 17))
    assert photos.doubling() == (0.25, 0.5, 1, 2, 4, 8, 16)
    assert others == families.strengths_of("fashion")
    assert others.slider() == tuple(range(1, 17))
    assert others.doubling() == (1, 2, 4, 8, 16)
    assert L2.slider()[-1] == L2.doubling()[-1] == 4


def test_a_family_whose_name_sorts_first_comes_after_the_declared_ones() -> None:
    found = families.ordered(["zzz", "photos", "aaa-digits", "fashion"])
    assert found == ("fashion", "photos", "aaa-digits", "zzz")


def test_a_recipe_from_scratch_is_stored_as_before() -> None:
    assert not {"frozen", "averaging"} & set(Recipe().to_dict())
    assert Recipe().to_dict()["weight"] is None  # checkpoints have always had it
    assert Recipe(**Recipe().to_dict()) == Recipe()
    assert FAMILIES["photos"].recipe.to_dict()["frozen"] == 5
