"""Signs of gradient masking: what is measured of each run, and over the runs of a cell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nls_core.evidence import masking, robustness
from nls_core.evidence.stored_runs import Run

N = 1000
NOTHING = {"zero_gradient": torch.zeros(N).bool(), "far": torch.zeros(N).bool()}
HONEST = {
    "pgd": [0.9, 0.8, 0.7, 0.4, 0.1],
    "apgd-ce": [0.9, 0.8, 0.7, 0.38, 0.1],
    "apgd-t": [0.9, 0.8, 0.7, 0.38, 0.08],
    "square": [0.92, 0.9, 0.8, 0.6, 0.3],
    "transfer": [0.92, 0.9, 0.85, 0.8, 0.7],
}


def answers(accuracy: dict[str, list[float]], count: int = N) -> dict[str, Tensor]:
    """(E, count) bool of these accuracies, the first images right."""
    return {
        case: torch.stack([torch.arange(count) < round(a * count) for a in values])
        for case, values in accuracy.items()
    }


def share(of: float) -> Tensor:
    return torch.arange(N) < of * N


@pytest.mark.parametrize(
    ("sign", "change", "signs"),
    [
        ("zero gradient", {}, {"zero_gradient": share(0.08)}),
        ("far attack fails", {}, {"far": share(0.03)}),
        ("black box wins", {"square": [0.9, 0.8, 0.7, 0.3, 0.08]}, {}),
        ("black box wins", {"transfer": [0.9, 0.8, 0.7, 0.38, 0.05]}, {}),
        ("success falls", {"pgd": [0.77, 0.8, 0.7, 0.4, 0.1]}, {}),
        ("dlr wins by far", {"apgd-t": [0.9, 0.8, 0.62, 0.38, 0.08]}, {}),
    ],
)
def test_each_sign_is_named(
    sign: str, change: dict[str, list[float]], signs: dict[str, Tensor]
) -> None:
    assert masking.of_run(answers(HONEST), NOTHING)["verdict"] == "no sign"
    found = masking.of_run(answers(HONEST | change), NOTHING | signs)
    assert found["signs"] == [sign]
    assert found["verdict"] == "masking"


def test_what_chance_explains_is_no_sign() -> None:
    found = masking.of_run(
        answers(HONEST | {"square": [0.9, 0.8, 0.7, 0.379, 0.08]}),
        NOTHING | {"zero_gradient": share(0.055), "far": share(0.012)},
    )
    assert found["signs"] == []
    assert found["zero_gradient"] == pytest.approx(0.055)
    assert found["measures"]["black box wins"]["square at 4/255"] == pytest.approx(0.001)
    assert found["measures"]["success falls"]["0.5/255 to 8/255"] == pytest.approx(-0.8)
    assert found["measures"]["dlr wins by far"]["apgd-t at 4/255"] == pytest.approx(0.02)


def test_white_box_attacks_count_together() -> None:
    right = answers(HONEST)
    right["apgd-ce"][3] = ~right["apgd-ce"][3]  # breaks just what the others leave
    found = masking.per_image(right, {})
    assert float(found["black box wins"]["square at 4/255"].mean()) == pytest.approx(-0.6)
    assert "zero gradient" not in found


def run(count: int, old: bool = False) -> Run:
    names = {"apgd-t": "apgd-dlr"} if old else {}
    right = {
        names.get(c, c): r
        for c, r in answers(HONEST, count).items()
        if not (old and c == "apgd-ce")
    }
    signs = {} if old else {name: each[:count] for name, each in NOTHING.items()}
    found = {"masking": {"zero_gradient": 0.02, "far": 0.004}}
    return Run(found, torch.zeros(1, 10), right, {}, signs)


def test_a_cell_is_judged_by_all_its_runs() -> None:
    found = masking.measures({0: run(N), 3: run(N)})
    assert set(found) == set(masking.SIGNS) == set(masking.LIMITS)
    measure = found["dlr wins by far"]["apgd-t at 8/255"]
    assert measure.limit == 0.05
    assert measure.by_seed == pytest.approx({0: 0.02, 3: 0.02})
    assert {seed: float(each.mean()) for seed, each in measure.by_image.items()} == measure.by_seed
    assert len(found["success falls"]) == 10
    assert len(found["black box wins"]) == 2 * len(robustness.EPSILONS)
    assert found["far attack fails"][""].by_seed == {0: 0.0, 3: 0.0}


def test_runs_of_an_older_version_are_read_and_only_shared_images_compared() -> None:
    old = masking.measures({0: run(500, old=True)})
    assert old["zero gradient"][""].by_seed == {0: 0.02}
    assert old["zero gradient"][""].by_image == {}
    assert set(old["dlr wins by far"]) == {
        f"apgd-dlr at {255 * e:g}/255" for e in robustness.EPSILONS
    }
    mixed = masking.measures({0: run(500), 1: run(N)})
    lengths = {len(i) for m in mixed["success falls"].values() for i in m.by_image.values()}
    assert lengths == {500}
    assert masking.measures({}) == {}
