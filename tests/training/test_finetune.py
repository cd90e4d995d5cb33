"""Fine-tuning the last blocks: the halves make the whole, folds are kept apart."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nls_core import nets
from nls_core.data import objects
from nls_core.errors import InvalidInput, UnknownName
from nls_core.families import FAMILIES
from nls_core.families.recipe import Recipe
from nls_core.training import finetune, imagenet
from nls_core.training.finetune import PreparedFolds

RECIPE = replace(FAMILIES["photos"].recipe, renderings=3, interpolation=1.0)


@pytest.fixture(scope="module")
def model() -> nets.Classifier:
    torch.manual_seed(0)
    net = nets.build(imagenet.ARCH, 4, 3)
    return nets.Classifier(net, imagenet.MEAN, imagenet.STD).eval().requires_grad_(False)


def renderings(count: int, per: int) -> objects.Renderings:
    generator = torch.Generator().manual_seed(per)
    each = torch.arange(count).repeat_interleave(per)
    images = torch.randint(0, 256, (count * per, 3, 64, 64), generator=generator).byte()
    masks = torch.zeros(count * per, 64, 64, dtype=torch.bool)
    return objects.Renderings(images, masks, each % 4, each, each, each % 5)


@pytest.mark.parametrize("frozen", [0, 5, 7])
def test_the_two_halves_are_the_classifier(model: nets.Classifier, frozen: int) -> None:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    front, back = finetune.halves(model, frozen)
    torch.testing.assert_close(back(front.eval()(x)), model(x), rtol=1e-4, atol=1e-4)
    trained = sum(p.numel() for p in back.parameters())
    every = sum(p.numel() for p in model.parameters())
    kept = sum(p.numel() for p in front.parameters())
    assert trained + kept == every


def test_training_moves_the_last_blocks_alone_and_lowers_the_loss(model: nets.Classifier) -> None:
    mine = copy.deepcopy(model)
    front, back = finetune.halves(mine, 6)
    data = renderings(8, 2)
    inputs = finetune.features(front, data.images)
    assert inputs.dtype == torch.float16
    before = nn.functional.cross_entropy(finetune.answer(back, inputs), data.labels)
    done: list[int] = []
    plan = replace(RECIPE, frozen=6, epochs=20, batch_size=8, lr=0.001)
    finetune.fit(replace(plan, renderings=2), back, (inputs, data.labels), done.append)
    assert sum(done) == 20 * 8  # an epoch shows each object once
    after = nn.functional.cross_entropy(finetune.answer(back, inputs), data.labels)
    assert after < before
    for name, old in model.state_dict().items():
        late = name.startswith(("net.blocks.6", "net.conv_head", "net.bn2", "net.classifier"))
        statistic = "running" in name or "num_batches" in name
        same = torch.equal(mine.state_dict()[name], old)
        assert same or (late and not statistic), name
    assert not torch.equal(weight(mine), weight(model))
    assert not any(p.requires_grad for p in back.parameters())


def prepared(model: nets.Classifier, frozen: int = 7) -> PreparedFolds:
    front, _ = finetune.halves(model, frozen)
    train, test = renderings(10, 3), renderings(10, 1)
    inputs = [finetune.features(front, part.images) for part in (train, test, test)]
    return PreparedFolds(
        model, 4, frozen, train, test, inputs[0], inputs[1], inputs[2], torch.zeros(10, 4)
    )


def test_a_network_of_some_folds_saw_their_objects_alone(
    model: nets.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepared(model)
    seen: list[Tensor] = []

    def fit(recipe: Recipe, back: nn.Module, data: tuple[Tensor, Tensor], *told: object) -> None:
        seen.extend(data)

    monkeypatch.setattr(finetune, "fit", fit)
    finetune.trained(replace(RECIPE, frozen=7), ready, {0, 2})
    wanted = (ready.train.folds == 0) | (ready.train.folds == 2)
    assert torch.equal(seen[0], ready.train_features[wanted])
    assert torch.equal(seen[1], ready.train.labels[wanted])
    finetune.trained(replace(RECIPE, frozen=7), ready)
    assert torch.equal(seen[2], ready.train_features)


def weight(model: nets.Classifier) -> Tensor:
    return model.state_dict()["net.classifier.rows.weight"]


def test_training_leaves_the_start_alone(model: nets.Classifier) -> None:
    ready = prepared(model)
    before = copy.deepcopy(ready.model.state_dict())
    made = finetune.trained(replace(RECIPE, frozen=7, epochs=2, batch_size=10, lr=0.1), ready)
    assert all(torch.equal(before[k], v) for k, v in ready.model.state_dict().items())
    assert not torch.equal(weight(made), before["net.classifier.rows.weight"])
    assert not made.training


def test_runs_of_one_seed_are_alike(model: nets.Classifier) -> None:
    plan = replace(RECIPE, frozen=7, epochs=2, batch_size=10)
    ready = prepared(model)
    first, again, other = (
        weight(finetune.trained(p, ready)) for p in (plan, plan, replace(plan, seed=1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_epoch_shows_another_rendering_of_every_object(model: nets.Classifier) -> None:
    """A linear network whose only feature is the number of the rendering: what it saw, and when."""
    rows = torch.arange(12.0)[:, None, None, None]  # 4 objects of 3 renderings
    seen: list[list[int]] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.flatten().long().tolist())
            return self.weight.expand(len(x), 4)

    back = nn.Sequential(*(Spy() for _ in range(1)), nn.Identity())
    labels = torch.arange(4).repeat_interleave(3)
    finetune.fit(replace(RECIPE, epochs=4, batch_size=2, renderings=3), back, (rows, labels))
    epochs = [sorted(seen[2 * i] + seen[2 * i + 1]) for i in range(4)]
    assert epochs == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11], [0, 3, 6, 9]]


def test_early_blocks_learn_slower_and_steps_are_bounded(model: nets.Classifier) -> None:
    """One step of gradient descent without momentum: its length is at most the rate's share."""
    ready = prepared(model, 4)
    plan = replace(
        RECIPE, frozen=4, epochs=1, batch_size=10, momentum=0.0, weight_decay=0.0, averaging=0.0
    )
    mine, slow = (finetune.trained(replace(plan, layer_decay=decay), ready) for decay in (1.0, 0.5))

    def moved(made: nets.Classifier, name: str) -> float:
        pairs = zip(made.net.named_parameters(), model.net.named_parameters(), strict=True)
        return sum(float((a - b).norm()) for (key, a), (_, b) in pairs if name in key)

    assert moved(mine, "classifier") == pytest.approx(moved(slow, "classifier"), rel=1e-3)
    for block, share in ((6, 0.5), (5, 0.25), (4, 0.125)):
        name = f"blocks.{block}."
        assert moved(slow, name) == pytest.approx(share * moved(mine, name), rel=0.02)
    huge = finetune.trained(replace(plan, lr=1e6), ready)
    pairs = zip(huge.parameters(), model.parameters(), strict=True)
    length = sum(float((a - b).square().sum()) for a, b in pairs) ** 0.5
    assert length <= finetune.LONGEST_STEP * 1.01


def test_what_is_kept_lies_between_the_start_and_the_average_of_the_weights(
    model: nets.Classifier,
) -> None:
    ready = prepared(model)
    watched: list[Tensor] = []

    def watch(loss: float, network: nn.Module) -> None:
        assert not network.training
        watched.append(network.state_dict()["3.rows.weight"].clone())

    plan = replace(RECIPE, frozen=7, epochs=2, batch_size=10, lr=0.1, averaging=0.0)
    last = weight(finetune.trained(plan, ready, watch=watch))
    start = weight(ready.model)
    kept = weight(finetune.trained(replace(plan, averaging=0.9), ready))
    between = weight(finetune.trained(replace(plan, averaging=0.9, interpolation=0.25), ready))
    # steps from w0 to w1 and w2: 0.9² w0 + 0.09 w1 + 0.1 w2
    wanted = 0.81 * start + 0.09 * watched[0] + 0.1 * watched[1]
    torch.testing.assert_close(last, watched[1])
    torch.testing.assert_close(kept, wanted, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(between, 0.75 * start + 0.25 * kept, atol=1e-6, rtol=1e-4)


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    plan = replace(RECIPE, lr=0.1)
    rates = [finetune.rate(plan, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1 / finetune.WARMUP)
    assert max(rates) < 0.1
    assert rates[-1] < 0.0001
    assert rates[finetune.WARMUP :] == sorted(rates[finetune.WARMUP :], reverse=True)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"loss": "magic"}, UnknownName, "unknown loss 'magic'"),
        ({"padding": "round"}, UnknownName, "unknown padding 'round'"),
        ({"frozen": 8}, InvalidInput, r"frozen must lie in \[0, 7\]; got 8"),
        ({"lr": 0.0}, InvalidInput, "lr must be above 0"),
        (
            {"frozen": None},
            InvalidInput,
            r"numbers for \['frozen', .*, 'averaging', 'interpolation'\] and clean",
        ),
        ({"imbalance": 10.0}, InvalidInput, r"and clean data; got \{'imbalance': 10.0\}"),
        ({"arch": "smallresnet-8"}, InvalidInput, r"got \{'arch': 'smallresnet-8'\}"),
        ({"epochs": 0}, InvalidInput, r"epochs must lie in \[1, inf\]; got 0"),
    ],
)
def test_a_plan_that_cannot_be_trained_is_refused(
    change: dict[str, object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        finetune.check(replace(RECIPE, **change))  # type: ignore[arg-type]


def test_a_plan_in_a_manifest_has_no_empty_entries() -> None:
    assert finetune.stated(RECIPE)["dataset"] == "everyday-objects"
    assert "weight" not in finetune.stated(RECIPE)
    assert finetune.stated(replace(RECIPE, loss="nls_ls", weight=0.01))["weight"] == 0.01
    assert replace(RECIPE, loss="nls_ls", weight=0.01).loss_options()["weight"] == 0.01


def test_a_plan_grows_only_by_what_is_set() -> None:
    assert not {"margin", "tau", "label_noise"} & set(finetune.plan(RECIPE))
    assert finetune.plan(replace(RECIPE, loss="ce_margin", margin=6.0))["margin"] == 6.0
