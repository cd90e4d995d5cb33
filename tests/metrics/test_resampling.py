"""Metrics of many resamples at once equal the metrics of each resample."""

from __future__ import annotations

import pytest
import torch

from nls_core.metrics import resampling
from nls_core.metrics.bootstrap import draws


def answers(images: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, generator=generator)
    labels = torch.where(
        torch.rand(images, generator=generator) < 0.7,
        logits.argmax(1),
        torch.randint(classes, (images,), generator=generator),
    )
    return logits.softmax(1), labels


@pytest.mark.parametrize("name", resampling.METRICS)
@pytest.mark.parametrize(("images", "classes"), [(400, 10), (37, 3), (9, 2)])
def test_a_resample_is_measured_as_its_images_are(name: str, images: int, classes: int) -> None:
    probs, labels = answers(images, classes, seed=images)
    index = draws(images, 130, seed=5)  # more than one chunk
    got = resampling.resampled(probs, labels, index)[name]
    wanted = [resampling.METRICS[name](probs[i], labels[i]) for i in index]
    torch.testing.assert_close(
        got, torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=1e-9, equal_nan=True
    )


@pytest.mark.parametrize("name", [name for name in resampling.METRICS if name != "aurc"])
def test_equal_confidences_are_taken_together(name: str) -> None:
    probs, labels = answers(300, 4, seed=1)
    probs = (probs * 10).round()  # few values, so that many are equal
    probs = torch.where(probs.sum(1, keepdim=True) > 0, probs, torch.ones_like(probs))
    probs = probs / probs.sum(1, keepdim=True)
    index = draws(300, 40, seed=2)
    got = resampling.resampled(probs, labels, index)[name]
    wanted = [resampling.METRICS[name](probs[i], labels[i]) for i in index]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_every_metric_of_single_images_has_its_resampled_form() -> None:
    assert list(resampling.RESAMPLED) == list(resampling.METRICS)
