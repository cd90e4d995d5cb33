"""The fitted temperature: against netcal, known ones, and the minimum of the NLL."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import netcal.scaling
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from nls_core.errors import InvalidInput
from nls_core.metrics import calibration
from nls_core.metrics.temperature import fit_temperature, with_temperature
from tests.helpers.predictions import draw

GOOD = torch.tensor([[0.5, 0.5], [0.9, 0.1]])


@pytest.mark.parametrize("true", [0.05, 0.5, 1.0, 2.0, 20.0])
def test_recovers_a_known_temperature(true: float) -> None:
    z, y = draw(rows=10_000)
    assert fit_temperature(z * true, y) == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_fitted_temperature_is_the_minimum(shift: float) -> None:
    z, y = draw(rows=300, scale=4.0)
    y = torch.where(torch.arange(300) < 60, (y + 1) % 5, y)
    best = fit_temperature((z + shift).numpy(), y.numpy())

    def loss(temperature: float) -> float:
        return calibration.nll(with_temperature(z, temperature), y)

    assert best != pytest.approx(1.0, abs=0.1)
    assert loss(best) <= min(loss(t) for t in np.geomspace(0.01, 100, 81)) + 1e-12
    assert loss(best) < min(loss(best * 0.99), loss(best * 1.01))


def test_temperature_at_the_ends_of_the_range() -> None:
    z = torch.eye(3)
    right, wrong = torch.arange(3), (torch.arange(3) + 1) % 3
    assert fit_temperature(z, right) == pytest.approx(0.01)
    assert fit_temperature(z, wrong) == pytest.approx(100.0)
    assert fit_temperature(z * 1e30, wrong) == pytest.approx(100.0)
    assert fit_temperature(torch.full((3, 4), 7.0), right) == 1.0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(0.05, 50.0))
def test_temperature_keeps_the_prediction(seed: int, temperature: float) -> None:
    z, y = draw(rows=30, seed=seed)
    p = with_temperature(z, temperature)
    assert (p.argmax(1) == z.argmax(1)).all()
    assert p.sum(1).numpy() == pytest.approx(1.0)
    assert calibration.accuracy(p, y) == calibration.accuracy(z.softmax(1), y)
    np.testing.assert_allclose(p, (z / temperature).softmax(1), rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_temperature_one_is_softmax(dtype: torch.dtype) -> None:
    z = draw(rows=50)[0].to(dtype)
    p = with_temperature(z, 1.0)
    assert p.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(p, z.to(p.dtype).softmax(1))


def test_large_logits_stay_finite() -> None:
    p = with_temperature(torch.tensor([[3e38, -3e38]]), 0.01)
    assert p.tolist() == [[1.0, 0.0]]


@pytest.mark.filterwarnings("ignore:independent is deprecated:DeprecationWarning:pyro")
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_netcal_fits_the_same_temperature(factor: float) -> None:
    z, y = draw(rows=2000)
    p = (z * factor).softmax(1)
    scaling = netcal.scaling.TemperatureScaling()
    scaling.fit(p.numpy(), y.numpy())
    ours = fit_temperature(z * factor, y)
    calibrated = with_temperature(z * factor, ours)
    assert calibrated.numpy() == pytest.approx(scaling.transform(p.numpy()), abs=2e-3)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_rejects_temperature(temperature: float) -> None:
    with pytest.raises(InvalidInput, match="temperature"):
        with_temperature(GOOD, temperature)


def test_fit_rejects() -> None:
    with pytest.raises(InvalidInput, match="finite"):
        fit_temperature(torch.tensor([[math.inf, 0.0]]), [0])
    with pytest.raises(InvalidInput, match="labels"):
        fit_temperature(GOOD, [0, 5])
