"""What models are called in menus, cards and legends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nls_core.views import names
from tests.conftest import tiny_manifest


@pytest.mark.parametrize(
    ("model_id", "listed"),
    [
        ("fashion/ce-zero", "cross-entropy (ce-zero)"),
        ("fashion/nls-partial", "normalized soft labels, partial padding (nls-partial)"),
        ("mine/resnet50-a1_in1k", "resnet50-a1_in1k"),
        ("mine/vit", "vit"),
    ],
)
def test_a_menu_names_the_loss_where_the_id_does(model_id: str, listed: str) -> None:
    assert names.menu([model_id]) == [(listed, model_id)]


def test_a_model_made_elsewhere_has_its_own_name() -> None:
    manifest = tiny_manifest("tiny/nls-partial")
    assert names.of_manifest(manifest) == "normalized soft labels, partial padding"
    assert names.of_manifest(replace(manifest, id="mine/vit")) == "vit"
    assert names.beside_id(replace(manifest, id="mine/vit")) == "mine/vit"
    listed = "normalized soft labels, partial padding (tiny/nls-partial)"
    assert names.beside_id(manifest) == listed
