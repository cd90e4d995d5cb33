"""Networks by the names of libraries: built, stored, loaded again, and refused by name."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nls_core import nets, zoo
from nls_core.errors import CheckpointError, ExtraMissing, UnknownName
from tests.conftest import tiny_manifest

# tiny ones, which timm keeps for tests
ARCHS = ("timm:test_resnet", "timm:test_vit.r160_in1k", "torchvision:squeezenet1_1")


@pytest.mark.parametrize("arch", ARCHS)
def test_a_network_of_a_library_is_stored_and_loaded(arch: str, tmp_path: Path) -> None:
    assert nets.is_known(arch)
    torch.manual_seed(0)
    net = nets.build(arch, 4, 3)
    made = replace(
        tiny_manifest("own/ce-zero"),
        arch=arch,
        classes=("a", "b", "c", "d"),
        channels=3,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        input_size=160,
        preprocess="center-crop",
    )
    zoo.store(net, made, tmp_path)
    model, manifest = zoo.load("own/ce-zero", tmp_path)
    assert manifest.arch == arch
    x = torch.rand(2, 3, 160, 160)
    wanted = nets.Classifier(net.half().float(), (0.5,) * 3, (0.5,) * 3).eval()
    torch.testing.assert_close(model(x), wanted(x))


def test_partial_padding_of_a_network_of_timm() -> None:
    net = nets.build("timm:test_resnet", 4, 3, "partial")
    assert any(isinstance(m, nets.PartialConv2d) for m in net.modules())


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("timm:resnet5", "unknown network 'resnet5'; timm has"),
        ("torchvision:resnet19", "torchvision has"),
        ("keras:resnet50", "expected one of"),
        ("timm:a/../b", "'timm:NAME'"),
    ],
)
def test_unknown_names(arch: str, words: str) -> None:
    with pytest.raises(UnknownName, match=words):
        nets.build(arch, 4, 3)


def test_without_the_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = replace(tiny_manifest("own/ce-zero"), arch="timm:test_resnet")
    zoo.store(nets.build("smallresnet-8", 10, 1), made, tmp_path)
    with pytest.raises(CheckpointError, match="do not fit its manifest"):
        zoo.load("own/ce-zero", tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'nls-lab\[timm\]'"):
        zoo.load("own/ce-zero", tmp_path)
    assert "nls-lab[timm]" in str(zoo.verify(tmp_path)["own/ce-zero"])
