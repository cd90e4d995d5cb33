"""Accuracy under attack: the subset, the cases, transfer and the worst case."""

from __future__ import annotations

import pytest
import torch

from nls_core import robust
from nls_core.attacks import ATTACKS
from nls_core.datasets import Data
from tests.conftest import make_model


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randint(0, 256, (40, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    labels = make_model(seed=0)(images.float() / 255).argmax(1)
    return Data("noise", images.byte(), labels, tuple("abcdefghij"), "fashion")


def test_the_subset_is_fixed(data: Data) -> None:
    x, y = robust.subset(data, 12)
    again, _ = robust.subset(data, 12)
    assert x.shape == (12, 1, 28, 28)
    assert torch.equal(x, again)
    assert torch.equal(make_model(seed=0)(x).argmax(1), y)
    assert torch.equal(robust.subset(data, 5)[0], x[:5])


def test_the_table_is_what_the_attacks_do(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robust, "BATCH", 5)
    monkeypatch.setitem(robust.CASES, "square, 500 queries", ("square", {"queries": 20}))
    x, y = robust.subset(data, 8)
    models = {"a": make_model(seed=0), "b": make_model(seed=1, padding="partial")}
    done: list[int] = []
    attacked = {k: robust.attack(m, x, y, report=done.append) for k, m in models.items()}
    table = robust.table(models, attacked, y)
    assert sum(done) == 2 * len(robust.CASES) * len(robust.EPSILONS) * len(x)
    for name, rows in table.items():
        other = "b" if name == "a" else "a"
        assert set(rows) == {*robust.CASES, f"transfer from {other}", robust.WORST}
        for i, epsilon in enumerate(robust.EPSILONS):
            moved = ATTACKS["fgsm"](models[name], x, y, epsilon=epsilon)
            wanted = float((models[name](moved).argmax(1) == y).double().mean())
            assert rows["fgsm"][i] == pytest.approx(wanted)
            assert rows[robust.WORST][i] <= min(rows[case][i] for case in robust.CASES)
        linf = (attacked[name].crafted - x).abs().amax((1, 2, 3, 4))
        assert (linf <= torch.tensor(robust.EPSILONS) + 1e-6).all()
    crafted = attacked["b"].crafted[-1]
    wanted = float((models["a"](crafted).argmax(1) == y).double().mean())
    assert table["a"]["transfer from b"][-1] == pytest.approx(wanted)


def test_strength_counts(data: Data) -> None:
    x, y = robust.subset(data, 10)
    model = make_model(seed=0)
    weak, strong = (
        robust._right(model, ATTACKS["pgd-linf"](model, x, y, epsilon=e, steps=10), y).sum()
        for e in (0.0, 0.3)
    )
    assert int(weak) == 10
    assert int(strong) < 10
