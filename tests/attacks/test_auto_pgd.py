"""Auto-PGD against torchattacks' own, plain PGD and its definition."""

from __future__ import annotations

import pytest
import torch
import torchattacks
from torch import Tensor

from nls_core.attacks import ATTACKS, objectives, threat
from nls_core.attacks.auto_pgd import Search, apgd, checkpoints
from tests.conftest import make_model

MODEL = make_model()


def images(count: int = 24) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    return x, MODEL(x).argmax(1)


def margins(adversarial: Tensor, y: Tensor) -> Tensor:
    return objectives.margin(MODEL(adversarial), y)


def test_checkpoints_are_the_papers() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == []


@pytest.mark.parametrize("epsilon", [0.002, 0.01])
def test_as_strong_as_torchattacks(epsilon: float) -> None:
    x, y = images()
    theirs = torchattacks.APGD(MODEL, eps=epsilon, steps=20, loss="dlr")(x, y)
    ours = apgd(MODEL, x, y, epsilon=epsilon, steps=20)
    assert (ours - x).abs().max() <= epsilon + 1e-6
    left, left_theirs = (int((margins(a, y) <= 0).sum()) for a in (ours, theirs))
    assert left <= left_theirs + 1
    assert left < len(y)


def test_stronger_than_plain_pgd_at_the_same_loss_and_steps() -> None:
    x, y = images()
    plain = ATTACKS["pgd-linf"](MODEL, x, y, epsilon=0.004, steps=20, loss="dlr", step_size=0.008)
    ours = apgd(MODEL, x, y, epsilon=0.004, steps=20)
    value = objectives.LOSS["dlr"]
    assert value(MODEL(ours), y).mean() > value(MODEL(plain), y).mean()


def test_a_stalled_search_halves_its_step_and_returns_to_its_best_point() -> None:
    x, y = images(4)
    with threat.prepare(MODEL, x, y, epsilon=0.01, norm="linf") as task:
        search = Search(task, x)
        search.move(first=True)
        search.look()
        best, step = search.best.clone(), search.step.clone()
        search.rises = torch.tensor([5.0, 0.0, 5.0, 0.0])  # of five steps
        search.top_then = search.top - 1  # the best loss has risen since the last checkpoint
        search.x = search.x + 1
        search.halve(5)
    assert search.halved.tolist() == [False, True, False, True]
    torch.testing.assert_close(search.step[1], step[1] / 2)
    torch.testing.assert_close(search.step[0], step[0])
    torch.testing.assert_close(search.x[1], best[1])
    assert not torch.equal(search.x[0], best[0])
    search.rises = torch.full((4,), 5.0)
    search.halve(5)  # the loss rose often enough, but not above the best
    assert search.halved.tolist() == [True, False, True, False]


def test_targeted_attacks_come_nearer_to_the_target() -> None:
    x, y = images()
    target = (y + 3) % 10
    towards = apgd(MODEL, x, target, epsilon=0.05, steps=10, targeted=True)
    value = objectives.LOSS["dlr"]  # a ratio of logits: margins themselves may grow
    assert value(MODEL(towards), target).mean() < value(MODEL(x), target).mean()
    assert (margins(towards, target) < 0).sum() > (margins(x, target) < 0).sum()


def test_restarts_never_make_it_weaker() -> None:
    x, y = images()
    once = apgd(MODEL, x, y, epsilon=0.003, steps=6)
    thrice = apgd(MODEL, x, y, epsilon=0.003, steps=6, restarts=3)
    gone = [objectives.succeeded(MODEL(a), y) for a in (once, thrice)]
    assert (gone[1] | ~gone[0]).all()
