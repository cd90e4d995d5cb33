"""Flip points: against attacks one by one, on nets whose flip point is known, and their cost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nls_core.analysis import cost, flip
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import AnalysisRequest
from nls_core.attacks import ATTACKS
from nls_core.errors import Overdue
from nls_core.families import Strengths
from nls_core.nets import Classifier
from nls_core.settings import Settings
from tests.conftest import TINY, picture_bytes

LADDER = Strengths().doubling()


class Threshold(nn.Module):
    """Says class 1 once the mean brightness has risen by `at`/255 above one half."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = at
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        rise = (x.mean((1, 2, 3)) - 0.5) * 255 - self.at
        return torch.stack([torch.zeros_like(rise), rise], dim=1)


@pytest.mark.parametrize("at", [0.01, 0.3, 0.99, 1.01, 2.5, 7.4, 15.9])
@pytest.mark.parametrize("ladder", [LADDER, Strengths(0.25, 4, 16).doubling()])
def test_a_known_flip_point_is_found_to_a_sixteenth(at: float, ladder: tuple[float, ...]) -> None:
    found = flip.find(Threshold(at), torch.full((1, 1, 8, 8), 0.5), 0, ladder=ladder)
    assert found.epsilon is not None
    assert (found.epsilon * 255 * 16) % 1 == pytest.approx(0, abs=1e-6)
    assert at <= found.epsilon * 255 <= at + 1 / 16
    assert (found.label, found.most) == (1, 16 / 255)


def test_what_no_strength_changes_is_not_found() -> None:
    found = flip.find(Threshold(17), torch.full((1, 1, 8, 8), 0.5), 0, ladder=LADDER)
    assert (found.epsilon, found.label, found.most) == (None, None, 16 / 255)


def test_pgd_alone_changes_the_label_there_and_not_a_sixteenth_below(
    tiny_model: Classifier, tiny_images: Tensor
) -> None:
    seen = []
    for x in tiny_images.split(1):
        label = int(tiny_model(x).argmax())
        found = flip.find(tiny_model, x, label, ladder=LADDER, seed=3)
        seen.append(found.epsilon)
        assert found.epsilon is not None
        for epsilon, flipped in ((found.epsilon, True), (found.epsilon - 1 / 16 / 255, False)):
            moved = ATTACKS["pgd-linf"](
                tiny_model, x, torch.tensor([label]), epsilon=max(epsilon, 0.0), steps=10, seed=3,
                random_start=True, early_stop=True,
            )  # fmt: skip
            answer = int(tiny_model(moved).argmax())
            assert (answer != label) == flipped
            assert not flipped or answer == found.label
    assert len(set(seen)) > 1


def test_no_search_runs_more_attacks_than_it_is_charged_for() -> None:
    for ladder in (LADDER, (0.25, 0.5, 1, 2, 4, 8, 16), (16,)):
        for at in (0.01, 0.26, 1.01, 3.9, 8.01, 15.99, 20):
            model = Threshold(at)
            done: list[float] = []
            x = torch.full((1, 1, 8, 8), 0.5)
            flip.find(model, x, 0, ladder=ladder, progress=done.append)
            assert model.calls <= flip.most_runs(ladder) * (flip.STEPS + 1)
            assert done == sorted(done)
            assert done[-1] <= 1
    assert flip.most_runs((1,)) == 5
    assert flip.most_runs(LADDER) == 5 + 7


def test_a_request_gets_one_of_each_model_and_pays_for_it(analyzer: Analyzer) -> None:
    request = AnalysisRequest(models=TINY, attack="gaussian", epsilons=(1 / 255,), steps=1)
    asked = dataclasses.replace(request, flip_point=True)
    without, with_it = (analyzer.analyze(picture_bytes(), r) for r in (request, asked))
    assert [m.flip_point for m in without.models] == [None, None]
    for model in with_it.models:
        assert model.flip_point
        assert model.flip_point.most == 16 / 255
        assert model.flip_point.label != model.prediction.index
    speeds = dict.fromkeys(TINY, cost.Speed(1.0, 8))
    more = cost.estimate(asked, speeds) - cost.estimate(request, speeds)
    assert more == 2 * 12 * (1 + 3 * 10)


def test_it_stops_when_the_time_is_up(models_dir: Path) -> None:
    settings = Settings(models_dir=models_dir, device="cpu")
    analyzer = Analyzer(settings)
    analyzer.layers(TINY[0])
    analyzer.queue.seconds = 1e-9  # after the estimate has let it pass
    request = AnalysisRequest(models=TINY, attack="fgsm", epsilons=(0.1,), flip_point=True)
    with pytest.raises(Overdue):
        analyzer.analyze(picture_bytes(), request)
