"""The losses as functions, and what partial padding does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nls_core import nets, zoo
from nls_core.analysis import loss_curves
from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.borders import Border, PaddingMaps, mean_of, ratios
from nls_core.analysis.loss_curves import Choice
from nls_core.data import sample
from nls_core.errors import InvalidInput
from nls_core.losses import LOSSES, WEIGHT
from nls_core.settings import Settings
from nls_core.views import loss_charts, palette
from nls_core.web.pages import loss_lab
from tests.conftest import make_model, shipped_sample, tiny_manifest

CHOICES = st.builds(
    Choice,
    classes=st.integers(2, 100),
    smoothing=st.floats(0, 1),
    gamma=st.floats(0, 5),
    weight=st.floats(0, 0.2),
)


@settings(max_examples=40, deadline=None)
@given(CHOICES)
def test_curves_are_the_losses_and_their_slopes_by_differences(choice: Choice) -> None:
    curves = loss_curves.curves(choice, points=19)
    step = 1e-6
    z = loss_curves.logits_at(torch.from_numpy(curves.p), choice.classes)
    np.testing.assert_allclose(z.softmax(1)[:, 0], curves.p, rtol=1e-9)
    target = torch.zeros(19, dtype=torch.long)
    for name in loss_curves.shown():
        ends = []
        for sign in (1, -1):
            moved = z.clone()
            moved[:, 0] += sign * step
            ends.append(loss_curves.evaluate(name, moved, target, choice)[0].numpy())
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(curves.slopes[name], slope, atol=1e-6)
        np.testing.assert_allclose((ends[0] + ends[1]) / 2, curves.values[name], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 100), st.floats(0, 1))
def test_the_identity_holds_without_gamma(classes: int, smoothing: float) -> None:
    value, gradient = loss_curves.identity_gap(Choice(classes, smoothing))
    assert value < 1e-14
    assert gradient < 1e-14


def test_the_identity_fails_with_gamma_and_the_page_says_so() -> None:
    choice = Choice(gamma=2.0)
    value, gradient = loss_curves.identity_gap(choice)
    assert value > 1e-3
    assert gradient > 1e-3
    text = loss_lab.identity(choice)
    assert "<b>not</b> hold" in text
    assert f"{value:.1e}" in text
    assert "that is rounding" in loss_lab.identity(Choice())
    assert "nothing can be learned" in loss_lab.identity(Choice(smoothing=1.0))


def test_label_smoothing_stops_at_its_own_target_and_nls_never() -> None:
    choice = Choice(smoothing=0.2)
    curves = loss_curves.curves(choice, points=999)
    top = float(loss_curves.targets(choice)[0])
    crossing = curves.p[np.argmax(curves.slopes["ls"] > 0)]
    assert crossing == pytest.approx(top, abs=2e-3)
    assert (curves.slopes["nls"] < 0).all()


@settings(max_examples=20, deadline=None)
@given(CHOICES)
def test_scaled_curves_have_one_steepest_slope(choice: Choice) -> None:
    curves = loss_curves.curves(choice, points=49)
    scaled = loss_curves.alike(curves)
    for name in loss_curves.shown():
        steepest = np.abs(curves.slopes[name]).max()
        if steepest > 0:
            assert np.abs(scaled.slopes[name]).max() == pytest.approx(1)
            np.testing.assert_allclose(scaled.values[name] * steepest, curves.values[name])


def test_the_page_begins_with_the_losses_own_weight_and_colours() -> None:
    assert Choice().weight == WEIGHT
    assert set(loss_curves.shown()) < set(LOSSES)
    assert set(palette.LOSS_COLOURS) == set(LOSSES)
    colours = [*palette.LOSS_COLOURS.values(), palette.MARK_COLOUR]
    assert len(set(colours)) == len(colours)
    bars, values, slopes, _ = loss_lab.show(10, 0.1, 0.0, 0.006, loss_lab.SCALES[1])
    assert sum(bars.data[0].y) == pytest.approx(1)
    for chart in (values, slopes):
        assert [t.line.color for t in chart.data] == [
            palette.LOSS_COLOURS[name] for name in loss_curves.shown()
        ]


def test_ratios_are_what_partial_convolution_multiplies_by() -> None:
    model = make_model(padding="partial")
    found = ratios(model, (1, 28, 28))
    names = [name for ratio in found for name in ratio.layers]
    convolutions = [
        n
        for n, m in model.named_modules()
        if isinstance(m, nets.PartialConv2d) and m.padding != (0, 0)
    ]
    assert sorted(names) == sorted(convolutions)
    assert not any(m._forward_pre_hooks for m in model.modules())
    for ratio in found:
        conv = model.get_submodule(ratio.layers[0])
        assert isinstance(conv, nets.PartialConv2d)
        size = ratio.values.shape[0] * conv.stride[0]
        plain = torch.nn.Conv2d(1, 1, 3, conv.stride[0], 1, bias=False)
        torch.nn.init.constant_(plain.weight, 1.0)
        valid = plain(torch.ones(1, 1, size, size))[0, 0].detach().numpy()  # entries in the window
        np.testing.assert_allclose(ratio.values, 9 / valid, rtol=1e-6)
    assert ratios(make_model(), (1, 28, 28)) == []
    html = loss_charts.ratio_maps(found)
    assert html.count("<figure>") == len(found)


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> PaddingMaps:
    folder = tmp_path_factory.mktemp("paired")
    for model_id in ("tiny/ce-zero", "tiny/ce-partial", "tiny/ls-partial", "bare/ce-partial"):
        manifest = tiny_manifest(model_id)
        zoo.store(make_model(padding=manifest.padding).net, manifest, folder)
    sample.write(shipped_sample().first(7), sample.path_of("tiny", folder))
    return PaddingMaps(Analyzer(Settings(models_dir=folder, device="cpu")))


def test_border_shares_are_those_of_single_maps(paired: PaddingMaps) -> None:
    from nls_core import cams

    assert paired.pairs() == ["tiny/ce"]
    layer = paired.layers("tiny/ce")[-1]
    steps: list[float] = []
    zero, partial = paired.borders("tiny/ce", "hirescam", layer, lambda d, _: steps.append(d))
    assert zero.ring == pytest.approx(24 / 49)
    assert len(zero.shares) == len(partial.shares) == 70
    assert steps == sorted(steps)
    images = sample.read("tiny", paired.analyzer.settings.models_dir)
    model, _ = zoo.load("tiny/ce-partial", paired.analyzer.settings.models_dir)
    for i in (0, 33, 69):
        one = images.part(i, i + 1)
        (values,) = cams.activation_maps(model, one.x(), one.labels, method="hirescam", layer=layer)
        if values.any():
            assert partial.shares[i] == pytest.approx(cams.border_mass(values), abs=1e-4)
        else:
            assert np.isnan(partial.shares[i])
    with pytest.raises(InvalidInput, match="gradcam"):
        paired.borders("tiny/ce", "scorecam", layer)


def test_the_words_follow_the_interval() -> None:
    rng = np.random.default_rng(0)
    low = Border("f/ce-zero", rng.normal(0.3, 0.02, 200).astype(np.float32), 0.5)
    high = Border("f/ce-partial", rng.normal(0.4, 0.02, 200).astype(np.float32), 0.5)
    assert "<b>more</b>" in loss_lab.border_words((low, high))
    assert "<b>less</b>" in loss_lab.border_words((high, low))
    chart = loss_charts.border_bars((low, high), "ce")
    assert [bar.y[0] for bar in chart.data] == pytest.approx([0.3, 0.4], abs=0.01)


def test_a_mean_leaves_out_maps_without_mass(tmp_path: Path) -> None:
    mean = mean_of(np.array([0.2, np.nan, 0.4], np.float32))
    assert mean.value == pytest.approx(0.3)
    assert mean.count == 2
    assert mean.low == pytest.approx(0.3 - 1.96 * 0.1, rel=1e-4)  # s/√n = 0.1
    assert np.isnan(mean_of(np.array([np.nan], np.float32)).value)
