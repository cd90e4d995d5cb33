"""Shared fixtures: seeded tiny models, so that tests are fast and repeatable."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import pytest
import torch

from nls_core import nets

torch.set_num_threads(2)


@pytest.fixture
def tiny_model() -> nets.Classifier:
    """A seeded 10-class net for (B, 1, 28, 28) in [0, 1], eval mode, weights frozen."""
    return make_model(channels=1)


@pytest.fixture
def tiny_images() -> torch.Tensor:
    """(6, 1, 28, 28) seeded images in [0, 1]."""
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(7))


def make_model(channels: int = 1, seed: int = 0, padding: str = "zero") -> nets.Classifier:
    """A seeded SmallResNet of width 8 with random batch-norm statistics, in eval mode."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    net = nets.build("smallresnet-8", 10, channels, padding)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    torch.random.set_rng_state(state)
    model = nets.Classifier(net, [0.5] * channels, [0.25] * channels).eval()
    return model.requires_grad_(False)
