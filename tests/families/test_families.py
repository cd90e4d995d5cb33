"""Families are records in one dict: looked up, ordered and checked, whoever declared them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nls_core import families
from nls_core.cams import CAMS
from nls_core.errors import NLSLabError, UnknownName
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
    # what came later is not stored where it is not set, so that older runs are found again
    assert list(Recipe().to_dict()) == [
        "dataset", "arch", "loss", "padding", "smoothing", "gamma", "lr", "epochs", "batch_size",
        "momentum", "weight_decay", "schedule", "warmup", "flip", "amp", "freeze_bn", "seed",
        "weight",
    ]  # fmt: skip
    assert Recipe().to_dict()["weight"] is None  # checkpoints have always had it
    assert Recipe(**Recipe().to_dict()) == Recipe()
    assert FAMILIES["photos"].recipe.to_dict()["frozen"] == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"margin": 6.0}, r"expected a margin with one of \['nls_margin', 'ce_margin'\] only; got ce"),
     ({"tau": 0.1}, r"expected a tau with one of \['logitnorm'\] only; got ce"),
     ({"label_noise": 1.5}, r"label_noise must lie in \[0, 1\]; got 1.5"),
     ({"imbalance": 0.5}, r"imbalance must lie in \[1, inf\]; got 0.5"),
     ({"subset": 0.0}, r"subset must lie in \[1e-06, 1\]; got 0.0"),
     ({"label_noise": 0.1, "noise_kind": "loud"}, r"unknown kind of noise 'loud'; expected one of"),
     ({"noise_kind": "symmetric"}, "expected a share label_noise with 'symmetric' noise")],
)  # fmt: skip
def test_what_a_recipe_cannot_have_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NLSLabError, match=words):
        Recipe(**changes).check()


def test_a_recipe_states_its_aberrations_and_options() -> None:
    recipe = Recipe(loss="nls_margin", margin=6.0, label_noise=0.4, imbalance=10.0)
    recipe.check()
    stated = {"margin": 6.0, "label_noise": 0.4, "imbalance": 10.0}
    assert {k: v for k, v in recipe.to_dict().items() if k not in Recipe().to_dict()} == stated
    assert recipe.loss_options() == {"smoothing": 0.1, "gamma": 0.0, "margin": 6.0}
    assert not recipe.allows(replace(recipe, label_noise=None).to_dict())
