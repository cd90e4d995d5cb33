"""The losses: closed forms, torch as an oracle, the identity with NCE, and refusals."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nls_core.errors import InvalidInput, UnknownName
from nls_core.losses import LOSSES, accepts, options, soft_labels, stated

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)
smoothings = st.floats(0, 1)
classes = st.integers(2, 12)


def draw(seed: int, k: int = 6, rows: int = 5, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, k, generator=generator, dtype=torch.float64) * scale
    return logits, torch.randint(0, k, (rows,), generator=generator)


def nce(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) normalized cross-entropy, as arXiv 2006.13554 writes it."""
    lp = F.log_softmax(logits, 1)
    return lp.gather(1, y[:, None])[:, 0] / lp.sum(1)


@quick
@given(seeds, classes, smoothings)
def test_label_smoothing_is_torchs(seed: int, k: int, s: float) -> None:
    logits, y = draw(seed, k)
    for reduction in ("mean", "sum", "none"):
        wanted = F.cross_entropy(logits, y, label_smoothing=s, reduction=reduction)
        got = LOSSES["ls"](logits, y, smoothing=s, reduction=reduction)
        torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(LOSSES["ce"](logits, y, smoothing=s), F.cross_entropy(logits, y))


@quick
@given(seeds, classes, smoothings)
def test_soft_label_matrices_are_taken(seed: int, k: int, s: float) -> None:
    logits, y = draw(seed, k)
    matrix = draw(seed + 1, k)[0].softmax(1)
    wanted = F.cross_entropy(logits, matrix, label_smoothing=s)
    torch.testing.assert_close(LOSSES["ls"](logits, matrix, smoothing=s), wanted)
    hot = F.one_hot(y, k).double()
    for loss in LOSSES.values():
        torch.testing.assert_close(loss(logits, hot, smoothing=s), loss(logits, y, smoothing=s))


@quick
@given(seeds, classes, smoothings)
def test_nls_is_a_rescaled_nce_in_value_and_gradient(seed: int, k: int, s: float) -> None:
    logits, y = draw(seed, k)
    z = logits.clone().requires_grad_()
    got = LOSSES["nls"](z, y, smoothing=s, reduction="none")
    torch.testing.assert_close(got, (1 - s) * nce(logits, y) + s / k)
    w = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(got.sum(), z)
    (wanted,) = torch.autograd.grad(((1 - s) * nce(w, y)).sum(), w)
    torch.testing.assert_close(gradient, wanted)


@quick
@given(seeds, classes, smoothings, st.floats(0, 3), st.floats(0, 4))
def test_nls_ls_is_the_weighted_sum(seed: int, k: int, s: float, w: float, gamma: float) -> None:
    logits, y = draw(seed, k)
    both = {"smoothing": s, "gamma": gamma, "reduction": "none"}
    parts = [LOSSES[name](logits, y, **both) for name in ("nls", "ls")]
    got = LOSSES["nls_ls"](logits, y, weight=w, **both)
    torch.testing.assert_close(got, parts[0] + w * parts[1])


def test_smoothing_is_not_cancelled_in_nls_ls() -> None:
    """For nls the direction of the gradient is free of s; for the sum it is not."""
    logits, y = draw(5)
    unit: dict[str, list[Tensor]] = {"nls": [], "nls_ls": []}
    for name, found in unit.items():
        for s in (0.0, 0.2):
            z = logits.clone().requires_grad_()
            options = {"weight": 0.1} if name == "nls_ls" else {}
            (g,) = torch.autograd.grad(LOSSES[name](z, y, smoothing=s, **options), z)
            found.append(F.normalize(g, dim=1))
    torch.testing.assert_close(*unit["nls"])
    assert (unit["nls_ls"][0] - unit["nls_ls"][1]).abs().max() > 0.01


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
@pytest.mark.parametrize("option", ["weight", "margin"])
@pytest.mark.parametrize("name", LOSSES)
def test_an_option_outside_its_range_is_refused(name: str, option: str, value: float) -> None:
    wanted = f"{option} must be at least 0 and finite" if accepts(name, option) else option
    with pytest.raises((InvalidInput, TypeError), match=wanted):
        LOSSES[name](*draw(1), **{option: value})


@pytest.mark.parametrize("tau", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_outside_its_range_is_refused(tau: float) -> None:
    with pytest.raises(InvalidInput, match="tau must be above 0 and finite"):
        LOSSES["logitnorm"](*draw(1), tau=tau)


# the sums, and the loss that each is without its second term
SUMS = {"nls_ls": "nls", "nls_ce": "nls", "nls_margin": "nls", "ce_margin": "ce", "nce_rce": "nls"}


@quick
@given(seeds, classes, smoothings, st.floats(0, 3))
def test_without_weight_a_sum_is_its_first_term(seed: int, k: int, s: float, gamma: float) -> None:
    logits, y = draw(seed, k)
    for name, base in SUMS.items():
        own = 0.0 if name == "nce_rce" else s
        wanted = LOSSES[base](logits, y, smoothing=own, gamma=gamma)
        got = LOSSES[name](logits, y, smoothing=s, gamma=gamma, weight=0.0)
        torch.testing.assert_close(got, wanted)


@quick
@given(seeds, classes, smoothings, st.floats(0, 3), st.floats(0, 4))
def test_nls_ce_is_the_weighted_sum(seed: int, k: int, s: float, w: float, gamma: float) -> None:
    logits, y = draw(seed, k)
    both = {"smoothing": s, "gamma": gamma, "reduction": "none"}
    nls, ce = (LOSSES[name](logits, y, **both) for name in ("nls", "ce"))
    torch.testing.assert_close(LOSSES["nls_ce"](logits, y, weight=w, **both), nls + w * ce)


@quick
@given(seeds, classes, st.floats(0, 3), st.floats(0, 12), st.sampled_from(["nls", "ce"]))
def test_the_hinge_is_torchs(seed: int, k: int, w: float, m: float, base: str) -> None:
    logits, y = draw(seed, k)
    # of -z against its lowest entry, with the margin -m; torch takes the mean over classes
    hinge = k * F.multi_margin_loss(-logits, logits.argmax(1), margin=-m, reduction="none")
    wanted = LOSSES[base](logits, y, reduction="none") + w * hinge
    got = LOSSES[f"{base}_margin"](logits, y, weight=w, margin=m, reduction="none")
    torch.testing.assert_close(got, wanted)


@quick
@given(seeds, classes, st.sampled_from(["nls", "ce"]))
def test_within_the_margin_nothing_is_added(seed: int, k: int, base: str) -> None:
    logits, y = draw(seed, k)
    widest = float((logits.amax(1) - logits.amin(1)).max())
    loss = LOSSES[f"{base}_margin"]
    assert torch.equal(loss(logits, y, weight=2.0, margin=widest), LOSSES[base](logits, y))
    assert loss(logits, y, weight=2.0, margin=widest / 2) > LOSSES[base](logits, y)


@quick
@given(seeds, classes, st.floats(0.01, 5), st.floats(0.1, 100))
def test_logitnorm_by_its_formula_and_free_of_scale(
    seed: int, k: int, tau: float, scale: float
) -> None:
    logits, y = draw(seed, k)
    wanted = F.cross_entropy(logits / (tau * logits.norm(dim=1, keepdim=True)), y)
    loss = LOSSES["logitnorm"]
    torch.testing.assert_close(loss(logits, y, tau=tau), wanted)
    torch.testing.assert_close(loss(scale * logits, y, tau=tau), wanted)
    # logits of one length lie at most 2/τ apart
    assert loss(logits, y, tau=tau) >= math.log1p((k - 1) * math.exp(-2 / tau)) - 1e-12


@quick
@given(seeds, classes, smoothings, st.floats(0, 10))
def test_nce_rce_is_nce_and_the_absolute_error(seed: int, k: int, s: float, w: float) -> None:
    """RCE = -A/2 · MAE for labels (arXiv 2006.13554), here with A = -4."""
    logits, y = draw(seed, k)
    mae = F.l1_loss(logits.softmax(1), F.one_hot(y, k).double(), reduction="none").sum(1)
    got = LOSSES["nce_rce"](logits, y, smoothing=s, weight=w, reduction="none")
    torch.testing.assert_close(got, nce(logits, y) + w * 2 * mae)


@quick
@given(seeds, classes)
def test_nce_rce_is_symmetric(seed: int, k: int) -> None:
    """Its sum over all labels is one constant, which makes it robust to symmetric noise."""
    logits, _ = draw(seed, k)
    every = [LOSSES["nce_rce"](logits, torch.full((5,), y), reduction="none") for y in range(k)]
    torch.testing.assert_close(sum(every), torch.full((5,), 1 + 4 * (k - 1.0)).double())


def test_manifests_state_the_options_that_change_a_loss() -> None:
    assert stated("ce_margin", options(0.1, 0.0, weight=0.2, margin=6.0, tau=None)) == {
        "gamma": 0.0, "weight": 0.2, "margin": 6.0,
    }  # fmt: skip
    logits, y = draw(4)
    for name, loss in LOSSES.items():
        same = torch.equal(loss(logits, y, smoothing=0.0), loss(logits, y, smoothing=0.3))
        assert same == ("smoothing" not in stated(name, options(0.1, 0.0)))


def test_focal_is_cross_entropy_with_gamma_three() -> None:
    logits, y = draw(2)
    p = logits.softmax(1).gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(LOSSES["focal"](logits, y), ((1 - p) ** 3 * -p.log()).mean())


@quick
@given(seeds, classes, smoothings)
def test_nls_lies_in_its_bounds(seed: int, k: int, s: float) -> None:
    logits, y = draw(seed, k, scale=20)
    value = LOSSES["nls"](logits, y, smoothing=s, reduction="none")
    assert (value >= s / k - 1e-12).all()
    assert (value <= 1 - s + s / k + 1e-12).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("cosine", "logitnorm")])
def test_a_shift_of_the_logits_changes_nothing(name: str, gamma: float) -> None:
    logits, y = draw(3)
    shift = torch.linspace(-50, 50, len(y), dtype=torch.float64)[:, None]
    loss = LOSSES[name]
    torch.testing.assert_close(loss(logits + shift, y, gamma=gamma), loss(logits, y, gamma=gamma))


@pytest.mark.parametrize("k", [2, 10, 100])
def test_values_at_uniform_logits(k: int) -> None:
    zeros, y = torch.zeros(3, k), torch.tensor([0, 1, k - 1])
    assert float(LOSSES["nls"](zeros, y)) == pytest.approx(1 / k)
    assert float(LOSSES["ce"](zeros, y)) == pytest.approx(math.log(k), rel=1e-6)
    assert float(LOSSES["ls"](zeros, y)) == pytest.approx(math.log(k), rel=1e-6)


@quick
@given(seeds, st.floats(0, 5), smoothings)
def test_focal_forms(seed: int, gamma: float, s: float) -> None:
    logits, y = draw(seed)
    p = logits.softmax(1)
    q = soft_labels(y, 6, s).double()
    weighted = ((1 - p) ** gamma * q * -p.log()).sum(1)
    kwargs = {"smoothing": s, "gamma": gamma, "reduction": "none"}
    torch.testing.assert_close(LOSSES["ls"](logits, y, **kwargs), weighted, rtol=1e-6, atol=1e-9)
    norm = -p.log().sum(1)
    torch.testing.assert_close(
        LOSSES["nls"](logits, y, **kwargs), weighted / norm, rtol=1e-6, atol=1e-9
    )
    p_y = p.gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(
        LOSSES["ce"](logits, y, **kwargs), -((1 - p_y) ** gamma) * p_y.log(), rtol=1e-6, atol=1e-9
    )


@quick
@given(seeds, smoothings, st.floats(0.1, 100))
def test_cosine_by_its_formula_and_free_of_scale(seed: int, s: float, scale: float) -> None:
    logits, y = draw(seed)
    q = F.normalize(soft_labels(y, 6, s).double(), dim=1)
    wanted = -(q * F.log_softmax(F.normalize(logits, dim=1), 1)).sum(1).mean()
    cosine = LOSSES["cosine"]
    torch.testing.assert_close(cosine(logits, y, smoothing=s), wanted)
    torch.testing.assert_close(cosine(logits * scale, y, smoothing=s), wanted)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name: str, gamma: float) -> None:
    logits, y = draw(5, rows=3)
    z = logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: LOSSES[name](v, y, gamma=gamma), (z,))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", LOSSES)
def test_huge_logits_give_finite_values_and_gradients(name: str, gamma: float) -> None:
    rows = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [0.0, 0.0, 0.0]])
    for y in range(3):
        z = rows.clone().requires_grad_()
        value = LOSSES[name](z, torch.full((4,), y), gamma=gamma)
        (gradient,) = torch.autograd.grad(value, z)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits, y = draw(7)
    half = logits.to(dtype)
    got = LOSSES[name](half, y)
    assert got.dtype == torch.float32
    assert torch.equal(got, LOSSES[name](half.float(), y))


@pytest.mark.parametrize("name", LOSSES)
def test_reductions_agree(name: str) -> None:
    logits, y = draw(9)
    each = LOSSES[name](logits, y, reduction="none")
    assert each.shape == (5,)
    torch.testing.assert_close(LOSSES[name](logits, y), each.mean())
    torch.testing.assert_close(LOSSES[name](logits, y, reduction="sum"), each.sum())
    with pytest.raises(UnknownName, match=r"unknown reduction 'avg'; expected one of"):
        LOSSES[name](logits, y, reduction="avg")


LOGITS, LABELS = torch.zeros(3, 4), torch.tensor([0, 1, 3])


@pytest.mark.parametrize(
    ("logits", "target", "options", "words"),
    [
        (LOGITS, LABELS, {"smoothing": 1.5}, r"smoothing must lie in \[0, 1\]; got 1.5"),
        (LOGITS, LABELS, {"smoothing": -0.1}, "smoothing"),
        (LOGITS, LABELS, {"smoothing": math.nan}, "smoothing"),
        (LOGITS, LABELS, {"gamma": -1.0}, "gamma must be at least 0"),
        (LOGITS, LABELS, {"gamma": math.nan}, "gamma"),
        (LOGITS, LABELS, {"gamma": math.inf}, "gamma"),
        (LOGITS[0], LABELS, {}, r"logits must be \(B, K\)"),
        (LOGITS[:, :1], LABELS, {}, "K ≥ 2"),
        (LOGITS.long(), LABELS, {}, "float dtype; got torch.int64"),
        (LOGITS, LABELS[:2], {}, "expected 3 targets, one per row; got 2"),
        (LOGITS, LABELS.float(), {}, "integer dtype; got torch.float32"),
        (LOGITS, LABELS.bool(), {}, "integer dtype; got torch.bool"),
        (LOGITS, LABELS + 1, {}, r"\[0, 4\); got values from 1 to 4"),
        (LOGITS, LABELS - 1, {}, "from -1 to 2"),
        (LOGITS, torch.zeros(3, 5), {}, "4 columns; got 5"),
        (LOGITS, torch.zeros(3, 4, dtype=torch.long), {}, "float dtype"),
        (LOGITS, torch.full((3, 4), math.nan), {}, "finite"),
        (LOGITS, torch.full((3, 4), -0.5), {}, "at least 0"),
        (LOGITS, torch.zeros(3, 4, 1), {}, "target must be"),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), {}, "at least one row"),
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_refusals_say_what_was_expected_and_what_came(
    name: str, logits: Tensor, target: Tensor, options: dict[str, float], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        LOSSES[name](logits, target, **options)
