"""One table of protocols: each trains its families, and refuses what it cannot honour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nls_core.errors import InvalidInput, UnknownName
from nls_core.families import FAMILIES, Family
from nls_core.settings import Settings
from nls_core.training import protocols
from nls_core.training.options import Options
from nls_core.training.protocols import PROTOCOLS


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_every_family_has_a_protocol_that_trains_it(family: Family, tmp_path: Path) -> None:
    assert protocols.check(family, Options(tmp_path)) is PROTOCOLS[family.protocol]
    assert set(PROTOCOLS[family.protocol].options) <= set(vars(Options(tmp_path)))


def test_options_at_their_defaults_are_never_refused(tmp_path: Path) -> None:
    options = Options(tmp_path, jobs=1, seeds=1, finished=True)
    assert protocols.check(FAMILIES["photos"], options)
    with pytest.raises(InvalidInput, match="which has no --download"):
        protocols.check(FAMILIES["photos"], replace(options, seeds=2, download=True))
    assert protocols.check(FAMILIES["fashion"], replace(options, seeds=2, jobs=2, download=True))


def test_a_protocol_that_is_not_there_is_named(tmp_path: Path) -> None:
    family = replace(FAMILIES["fashion"], protocol="leave_one_out")
    with pytest.raises(UnknownName, match="unknown protocol 'leave_one_out'; expected one of"):
        protocols.check(family, Options(tmp_path))


def test_out_of_fold_needs_objects_in_folds(tmp_path: Path) -> None:
    recipe = replace(FAMILIES["photos"].recipe, dataset="fashion-mnist")
    family = replace(FAMILIES["photos"], recipe=recipe)
    with pytest.raises(UnknownName, match="unknown collection of objects 'fashion-mnist'"):
        protocols.train(family, Settings(data_dir=tmp_path), Options(tmp_path))
