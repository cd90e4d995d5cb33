"""Where comparisons begin: which family, which baseline, which candidate."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from nls_core import zoo
from nls_core.analysis import choice
from nls_core.analysis.analyzer import Analyzer
from nls_core.errors import CheckpointError
from nls_core.families import FAMILIES
from nls_core.settings import Settings
from tests.conftest import make_model, tiny_manifest

ECE = {"ce-zero": 0.1, "ce-partial": 0.01, "ls-zero": 0.2, "nls-zero": 0.05, "own-2-partial": 0.04}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_says_its_own_pair(family: str) -> None:
    cells = FAMILIES[family].cells()
    assert choice.pair(family, cells) == FAMILIES[family].pair


def test_else_it_is_the_first_ce_and_the_best_of_the_other_losses() -> None:
    assert choice.pair("new", list(ECE), ECE.__getitem__) == ("ce-zero", "own-2-partial")
    assert choice.pair("new", ["ls-zero", "nls-zero"], ECE.__getitem__) == ("ls-zero", "nls-zero")
    assert choice.pair("new", ["ce-zero", "ce-partial"]) == ("ce-zero", "ce-partial")
    assert choice.pair("new", ["ls-zero"]) == ("ls-zero", "ls-zero")
    assert choice.pair("new", ["ce-zero", "ls-zero"], lambda cell: math.inf)[1] == "ls-zero"
    with pytest.raises(CheckpointError, match="expected models of the family new"):
        choice.pair("new", [])


def test_families_of_what_people_upload_come_first_and_strangers_last() -> None:
    uploads = [name for name, family in FAMILIES.items() if family.uploads]
    assert uploads
    opening = choice.opening(["aaa", *FAMILIES, "zzz"])
    assert opening[: len(uploads)] == tuple(uploads)
    assert opening[-2:] == ("aaa", "zzz")


def test_ids_with_hyphens_and_digits_are_compared(tmp_path: Path) -> None:
    for seed, cell in enumerate(("ce-zero", "own-2-zero")):
        manifest = dataclasses.replace(tiny_manifest("tiny/ce-zero"), id=f"cifar_10/{cell}")
        zoo.store(make_model(seed=seed).net, manifest, tmp_path)
    analyzer = Analyzer(Settings(models_dir=tmp_path, device="cpu"))
    assert analyzer.pair("cifar_10") == ("cifar_10/ce-zero", "cifar_10/own-2-zero")
    assert choice.loss_of("own-2-zero") == "own-2"
