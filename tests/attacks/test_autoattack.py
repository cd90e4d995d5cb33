"""AutoAttack and its parts against torchattacks' own, and by their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nls_core.attacks import ATTACKS, objectives
from nls_core.attacks.ensemble import STAGES
from nls_core.attacks.fast_boundary import to_plane
from nls_core.errors import InvalidInput
from tests.conftest import make_model

MODEL = make_model()
EPSILON = 0.002
PARTS = ("apgd-ce", "apgd-t", "fab-t")


def images(count: int = 24) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    return x, MODEL(x).argmax(1)


def wrong(adversarial: Tensor, y: Tensor) -> Tensor:
    return MODEL(adversarial).argmax(1) != y


class Linear(nn.Module):
    """Logits of K classes, linear in 16 pixels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, 16, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def theirs(name: str, epsilon: float, steps: int) -> Any:
    common = {"eps": epsilon, "steps": steps}
    return {
        "apgd-ce": lambda: torchattacks.APGD(MODEL, loss="ce", **common),
        "apgd-t": lambda: torchattacks.APGDT(MODEL, **common),
        "fab-t": lambda: torchattacks.FAB(MODEL, multi_targeted=True, **common),
    }[name]()


@pytest.mark.parametrize("epsilon", [0.0005, 0.001, 0.002])
@pytest.mark.parametrize("name", PARTS)
def test_as_strong_as_torchattacks(name: str, epsilon: float) -> None:
    x, y = images()
    with_theirs = int(wrong(theirs(name, epsilon, 10)(x, y), y).sum())
    ours = ATTACKS[name](MODEL, x, y, epsilon=epsilon, steps=10)
    assert float((ours - x).abs().max()) <= epsilon + 1e-6
    assert int(wrong(ours, y).sum()) >= with_theirs - 1


def test_the_strengths_above_leave_some_and_break_some() -> None:
    x, y = images()
    counts = [
        int(wrong(ATTACKS["apgd-t"](MODEL, x, y, epsilon=e, steps=10), y).sum())
        for e in (0.0005, 0.002)
    ]
    assert counts[0] < counts[1]
    assert counts[1] > 0
    assert counts[0] < len(y)


def test_towards_is_the_targeted_loss_of_torchattacks() -> None:
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    course = torch.stack([torch.arange(50) % 10, torch.arange(3, 53) % 10], 1)
    wanted = torchattacks.APGDT(MODEL).dlr_loss_targeted(logits, *course.unbind(1))
    torch.testing.assert_close(objectives.towards(logits, course), wanted)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("name", [*PARTS, "autoattack"])
def test_few_classes_are_attacked_too(name: str, classes: int) -> None:
    model, x = Linear(classes), torch.full((2, 1, 4, 4), 0.5)
    y = model(x).argmax(1)
    out = ATTACKS[name](model, x, y, epsilon=0.4, steps=5)
    assert (model(out).argmax(1) != y).all()
    logits, course = torch.tensor([[1.0, 3.0]]), torch.tensor([[1, 0]])
    assert objectives.towards(logits, course).tolist() == [-2.0]


@pytest.mark.parametrize("name", ["apgd-t", "fab-t"])
def test_targeted_attacks_reach_the_target(name: str) -> None:
    x, _ = images(8)
    target = MODEL(x).topk(3).indices[:, 2]
    out = ATTACKS[name](MODEL, x, target, epsilon=0.05, steps=30, targeted=True)
    assert int((MODEL(out).argmax(1) == target).sum()) >= 7


@pytest.mark.parametrize("name", [*PARTS, "autoattack"])
def test_what_is_wrong_already_is_left_alone(name: str) -> None:
    x, y = images(4)
    y[0] = (y[0] + 1) % 10
    out = ATTACKS[name](MODEL, x, y, epsilon=0.01, steps=1)
    assert torch.equal(out[0], x[0])


def test_more_targets_never_find_less() -> None:
    x, y = images()
    one, nine = (
        wrong(ATTACKS["apgd-t"](MODEL, x, y, epsilon=EPSILON, steps=5, targets=t), y)
        for t in (1, 50)
    )
    assert int(nine.sum()) >= int(one.sum())
    with pytest.raises(InvalidInput, match="targets must be an integer of at least 1"):
        ATTACKS["fab-t"](MODEL, x, y, epsilon=EPSILON, targets=0)


def test_giving_up_ends_a_search_after_its_trial() -> None:
    x, y = images(4)
    asked: list[int] = []
    hook = MODEL.register_forward_hook(lambda _, inputs, __: asked.append(len(inputs[0])))
    more = {"epsilon": 1e-6, "steps": 30, "targets": 1}
    ATTACKS["apgd-t"](MODEL, x, y, **more)
    full = len(asked)
    asked.clear()
    ATTACKS["apgd-t"](MODEL, x, y, give_up=0.0, **more)
    hook.remove()
    assert full - len(asked) == 20  # of 30 steps, 10 were made


def test_fab_finds_changes_as_small_as_torchattacks() -> None:
    x, y = images()
    distances = []
    for out in (
        torchattacks.FAB(MODEL, eps=1.0, steps=20, multi_targeted=True)(x, y),
        ATTACKS["fab-t"](MODEL, x, y, epsilon=EPSILON, steps=20),
    ):
        distances.append((out - x).abs().amax((1, 2, 3)))
    reached = wrong(ATTACKS["fab-t"](MODEL, x, y, epsilon=EPSILON, steps=20), y)
    # the library's smallest change says which samples have one within ε
    assert (reached == (distances[0] <= EPSILON)).double().mean() > 0.9
    assert (distances[1] <= EPSILON + 1e-6).all()


@pytest.mark.parametrize("reach", [0.05, 0.3, 5.0, -0.2])
def test_the_way_to_a_plane_is_the_shortest(reach: float) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(5, 1, 3, 3, generator=generator, dtype=torch.float64)
    normal = torch.randn(5, 1, 3, 3, generator=generator, dtype=torch.float64)
    most = torch.where(normal > 0, 1 - x, x)  # the room of each pixel, for a positive need
    need = torch.full((5,), reach, dtype=torch.float64)
    change = to_plane(x, normal, need)
    assert ((x + change >= -1e-12) & (x + change <= 1 + 1e-12)).all()
    got = (normal * change).sum((1, 2, 3))
    if reach == 5.0:  # more than some can do: they use all their room
        most_gain = (normal.abs() * most).sum((1, 2, 3))
        torch.testing.assert_close(got, torch.minimum(need, most_gain), atol=1e-6, rtol=1e-6)
        return
    torch.testing.assert_close(got, need, atol=1e-6, rtol=1e-6)
    hyperplane = torchattacks.attacks.fab.projection_linf(
        x.flatten(1).float(),
        normal.flatten(1).float(),
        (need + (normal * x).sum((1, 2, 3))).float(),
    )
    torch.testing.assert_close(
        change.flatten(1).abs().amax(1).float(), hyperplane.abs().amax(1), atol=1e-4, rtol=1e-3
    )


def test_autoattack_is_no_weaker_than_any_of_its_parts() -> None:
    x, y = images(12)
    whole = wrong(ATTACKS["autoattack"](MODEL, x, y, epsilon=EPSILON, steps=5), y)
    assert int(whole.sum()) > 0
    for name in STAGES:
        part = wrong(ATTACKS[name](MODEL, x, y, epsilon=EPSILON, steps=5), y)
        assert int(whole.sum()) >= int(part.sum()), name


def test_published_steps_are_the_default() -> None:
    x, y = images(1)
    seen: list[float] = []
    ATTACKS["apgd-ce"](MODEL, x, y, epsilon=1e-6, progress=seen.append)
    assert seen == pytest.approx([step / 100 for step in range(101)])
