"""Accuracy under attack: the subset, the cases, transfer and the signs of masking."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nls_core.attacks import ATTACKS
from nls_core.data.datasets import Data
from nls_core.evidence import robustness
from nls_core.evidence.robustness import CASES, EPSILONS, Case
from tests.conftest import make_model


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randint(0, 256, (40, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    labels = make_model(seed=0)(images.float() / 255).argmax(1)
    return Data("noise", images.byte(), labels, tuple("abcdefghij"), "fashion")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "square", Case("square", {"queries": 10}))
    monkeypatch.setitem(CASES, "apgd-ce", Case("apgd-ce", {"steps": 4}, nested=True))
    monkeypatch.setitem(CASES, "apgd-t", Case("apgd-t", {"steps": 3, "targets": 2}, nested=True))
    monkeypatch.setattr(robustness, "BATCH", 5)


def test_the_subset_is_fixed(data: Data) -> None:
    x, y = robustness.subset(data, 12)
    again, _ = robustness.subset(data, 12)
    assert x.shape == (12, 1, 28, 28)
    assert torch.equal(x, again)
    assert torch.equal(make_model(seed=0)(x).argmax(1), y)
    assert torch.equal(robustness.subset(data, 5)[0], x[:5])


def test_what_is_right_is_what_the_attacks_leave(data: Data, quick: None) -> None:
    x, y = robustness.subset(data, 8)
    model, other = make_model(seed=0), make_model(seed=1, padding="partial")
    done: list[int] = []
    attacked = robustness.attack(model, x, y, progress=done.append)
    assert sum(done) == len(CASES) * len(EPSILONS) * len(x)
    assert set(attacked.right) == set(CASES)
    beside = {robustness.TRANSFER, robustness.WORST, *robustness.PRESET}
    assert set(robustness.MEANING) == {*CASES, *beside}
    for i, epsilon in enumerate(EPSILONS):
        moved = ATTACKS["fgsm"](model, x, y, epsilon=epsilon)
        assert torch.equal(attacked.right["fgsm"][i], model(moved).argmax(1) == y)
    crafted = attacked.crafted[robustness.CRAFTED]
    linf = (crafted - x).abs().amax((1, 2, 3, 4))
    assert (linf <= torch.tensor(EPSILONS) + 1e-6).all()
    moved_right = robustness.transferred(other, crafted, y)
    for i in range(len(EPSILONS)):
        assert torch.equal(moved_right[i], other(crafted[i]).argmax(1) == y)


def test_a_nested_case_attacks_only_what_smaller_strengths_left(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = robustness.subset(data, 20)
    model = make_model(seed=0)
    asked: list[tuple[float, int]] = []

    class Counted(Case):
        def __call__(self, model: nn.Module, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
            asked.append((epsilon, len(x)))
            return super().__call__(model, x, y, epsilon)

    case = Counted("apgd-ce", {"steps": 5}, nested=True)
    done: list[int] = []
    found = robustness.attack(model, x, y, cases={"a": case}, progress=done.append)
    right = found.right["a"]
    assert found.crafted == {}
    assert sum(done) == len(EPSILONS) * len(x)
    assert (right[1:] <= right[:-1]).all()  # what is wrong stays wrong
    left = [len(x), *right.sum(1).tolist()]
    assert 0 < left[2] < left[1]
    assert asked == [(e, n) for e, n in zip(EPSILONS, left, strict=False) if n]
    assert torch.equal(right[0], model(case(model, x, y, EPSILONS[0])).argmax(1) == y)
    assert robustness.shared([right, right[:, :7]]) == 7


def test_a_second_run_of_pgd_attacks_only_what_the_first_left(data: Data) -> None:
    x, y = robustness.subset(data, 40)
    model = make_model(seed=0)
    epsilon = EPSILONS[1]
    first = ATTACKS["pgd-linf"](model, x, y, epsilon=epsilon, steps=20)
    both = CASES["pgd"](model, x, y, epsilon)
    lost = model(first).argmax(1) != y
    assert lost.any()
    assert not lost.all()
    assert torch.equal(both[lost], first[lost])
    assert ((both[~lost] - first[~lost]).abs().amax((1, 2, 3)) > 0).all()
    assert (both - x).abs().max() <= epsilon + 1e-6


class Masked(nn.Module):
    """Right on images as they are, with a gradient of exactly 0: pixels are rounded first."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x * 4).round() / 4 + 0 * x)


def test_an_honest_model_shows_no_vanished_gradient_and_a_masked_one_does(data: Data) -> None:
    x, y = robustness.subset(data, 10)
    model = make_model(seed=0)
    honest = robustness.signs(model, x, y)
    assert {name: int(each.sum()) for name, each in honest.items()} == {
        "zero_gradient": 0,
        "far": 0,
    }
    masked = Masked(model)
    found = robustness.signs(masked, x, masked(x).argmax(1))
    assert {name: int(each.sum()) for name, each in found.items()} == {
        "zero_gradient": 10,
        "far": 10,
    }
