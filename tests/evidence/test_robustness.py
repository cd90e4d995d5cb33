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
    monkeypatch.setitem(CASES, "apgd-dlr", Case("apgd-dlr", {"steps": 5}))
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
    assert set(robustness.MEANING) == {*CASES, robustness.TRANSFER, robustness.WORST}
    for i, epsilon in enumerate(EPSILONS):
        moved = ATTACKS["fgsm"](model, x, y, epsilon=epsilon)
        assert torch.equal(attacked.right["fgsm"][i], model(moved).argmax(1) == y)
    linf = (attacked.crafted - x).abs().amax((1, 2, 3, 4))
    assert (linf <= torch.tensor(EPSILONS) + 1e-6).all()
    moved_right = robustness.transferred(other, attacked.crafted, y)
    for i in range(len(EPSILONS)):
        assert torch.equal(moved_right[i], other(attacked.crafted[i]).argmax(1) == y)


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
    assert honest == {"zero_gradient": 0.0, "far": 0.0}
    masked = Masked(model)
    found = robustness.signs(masked, x, masked(x).argmax(1))
    assert found["zero_gradient"] == 1.0
    assert found["far"] == 1.0


NOTHING = {"zero_gradient": 0.0, "far": 0.0}
HONEST = {
    "fgsm": [0.9, 0.85, 0.8, 0.6, 0.4],
    "pgd": [0.9, 0.8, 0.7, 0.4, 0.1],
    "apgd-dlr": [0.9, 0.8, 0.7, 0.38, 0.08],
    "square": [0.92, 0.9, 0.8, 0.6, 0.3],
    "transfer": [0.92, 0.9, 0.85, 0.8, 0.7],
}


@pytest.mark.parametrize(
    ("sign", "case", "values", "measured"),
    [
        ("zero gradient", "pgd", HONEST["pgd"], {"zero_gradient": 0.06, "far": 0.0}),
        ("far attack fails", "pgd", HONEST["pgd"], {"zero_gradient": 0.0, "far": 0.3}),
        ("black box wins", "square", [0.9, 0.8, 0.7, 0.3, 0.1], NOTHING),
        ("black box wins", "transfer", [0.9, 0.8, 0.7, 0.38, 0.05], NOTHING),
        ("success falls", "pgd", [0.77, 0.8, 0.7, 0.4, 0.1], NOTHING),
        ("dlr wins by far", "apgd-dlr", [0.9, 0.8, 0.64, 0.38, 0.08], NOTHING),
    ],
)
def test_each_sign_of_masking_is_named(
    sign: str, case: str, values: list[float], measured: dict[str, float]
) -> None:
    assert not any(robustness.masking(HONEST, NOTHING).values())
    shown = robustness.masking(HONEST | {case: values}, measured)
    assert [name for name, there in shown.items() if there] == [sign]
    assert set(shown) == set(robustness.SIGNS)
