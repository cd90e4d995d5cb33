"""Scores of familiarity, their thresholds, and where the hint shows."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nls_core import listing, zoo
from nls_core.analysis.results import Analysis
from nls_core.data import sample
from nls_core.errors import CheckpointError, InvalidInput, UnknownName
from nls_core.images import PREPROCESS, decode_image
from nls_core.metrics import unfamiliar
from nls_core.metrics.unfamiliar import SCORES, Verdict, entry, judge, scores, threshold
from nls_core.settings import ROOT, Settings
from nls_core.views import panels, report
from nls_core.web.rest.model_schemas import model_detail
from nls_core.web.rest.schemas import analysis_response
from nls_core.zoo import cards
from tests.conftest import TINY, picture_bytes, tiny_manifest
from tests.helpers.command import Nls

HINT = "Perhaps none of my classes"


def test_closed_forms() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [-5, -5]])
    assert scores("msp", logits).tolist() == pytest.approx([0.75, 0.5])
    assert scores("energy", logits).tolist() == pytest.approx([math.log(4), math.log(2) - 5])
    assert scores("max_logit", logits).tolist() == pytest.approx([math.log(3), -5])
    wanted = [-2 * (0.75 * 0.25) ** 0.1, -2 * 0.25**0.1]
    assert scores("gen", logits).tolist() == pytest.approx(wanted)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.sampled_from([-2, 0, 0.5, 1, 7])),
    st.floats(0.001, 0.999),
)
def test_at_most_the_rate_lies_below(known: np.ndarray, rate: float) -> None:
    limit = threshold(torch.from_numpy(known), rate)
    assert limit in known
    assert (known < limit).sum() <= rate * len(known) + 1e-6
    higher = known[known > limit]
    if len(higher):  # the next larger one would leave too many below
        assert (known < higher.min()).sum() > rate * len(known) - 1e-6


def test_a_hundred_scores() -> None:
    assert threshold(torch.arange(100).double()) == 5
    assert threshold(torch.arange(100).double(), 0.29) == 29


@pytest.mark.parametrize("name", SCORES)
def test_an_entry_flags_its_share(name: str) -> None:
    logits = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) * 3
    pictures = (torch.arange(256) >= torch.arange(200)[:, None]).float().view(200, 1, 16, 16)
    made = entry(name, pictures if SCORES[name].picture else logits, auroc=0.9, command="none")
    unfamiliar.check(made)
    assert json.loads(json.dumps(made)) == made
    seen = list(zip(logits.numpy(), pictures.numpy(), strict=True))
    verdicts = [judge(made, *each) for each in seen]
    assert sum(v is not None and v.unfamiliar for v in verdicts) == 10
    assert judge({}, *seen[0]) is None


def test_photographs_have_no_plain_background_and_clothes_of_the_data_set_have() -> None:
    models = Settings().models_dir
    manifest = zoo.read_manifest("fashion/ce-zero", models)
    clothes = sample.read("fashion", models)
    hinted = [judge(manifest.ood, [0.0], x) for x in clothes.x()]
    assert sum(v is not None and v.unfamiliar for v in hinted) < 0.08 * len(clothes)
    photo = decode_image((ROOT / "static/examples/photos/dog-kemperman.jpg").read_bytes())
    seen = PREPROCESS["fashion"](photo, 28, 1).x[0]
    verdict = judge(manifest.ood, [9.0, 0.0], seen)
    assert verdict
    assert verdict.sentence.startswith(f"{HINT}: its share of plain background (0.0")


def test_the_sentence_says_which_score_against_which() -> None:
    shown = Verdict("energy", 2.0, 3.5, 0.05).sentence
    assert shown == (
        f"{HINT}: its energy score (2) is below that of 95 % of held-out pictures (3.5 or more)"
    )
    assert Verdict("energy", 3.5, 3.5, 0.05).sentence == ""


@pytest.mark.parametrize("logits", [torch.ones(3), torch.ones(0, 3), torch.tensor([[torch.nan]])])
def test_bad_logits_are_refused(logits: torch.Tensor) -> None:
    with pytest.raises(InvalidInput, match="finite logits"):
        scores("energy", logits)


def test_bad_choices_are_refused() -> None:
    with pytest.raises(UnknownName, match="unknown score 'odin'; expected one of"):
        scores("odin", torch.ones(1, 2))
    for rate in (0.0, 1.0, math.nan):
        with pytest.raises(InvalidInput, match="rate"):
            threshold(torch.ones(3), rate)
    for known in (torch.ones(0), torch.ones(2, 2), torch.tensor([torch.inf])):
        with pytest.raises(InvalidInput, match="finite scores"):
            threshold(known)


def written(models_dir: Path, folder: Path, ood: Any) -> Path:
    """A models folder whose first model has this entry; None takes the field out."""
    shutil.copytree(models_dir, folder)
    path = folder / TINY[0] / listing.CONFIG
    data = json.loads(path.read_text(encoding="utf-8")) | {"ood": ood}
    if ood is None:
        del data["ood"]
    path.write_text(json.dumps(data), encoding="utf-8")
    return folder


def test_manifests_without_the_field_stay_readable(models_dir: Path, tmp_path: Path) -> None:
    manifest = zoo.read_manifest(TINY[0], written(models_dir, tmp_path / "old", None))
    assert manifest.ood == {}
    assert "held-out" not in cards.card(manifest)


def test_manifests_with_the_field_are_read_and_shown(models_dir: Path, tmp_path: Path) -> None:
    ood = {"score": "msp", "threshold": 0.4, "rate": 0.05, "auroc": 0.91}
    manifest = zoo.read_manifest(TINY[0], written(models_dir, tmp_path / "new", ood))
    assert manifest.ood == ood
    assert model_detail(manifest, ()).ood == ood
    assert "auroc: 0.91" in cards.card(manifest)


@pytest.mark.parametrize(
    "change",
    [
        {"score": "odin"},
        {"score": ["msp"]},
        {"threshold": math.nan},
        {"threshold": math.inf},
        {"threshold": "0.5"},
        {"threshold": None},
        {"rate": 0},
        {"rate": "x"},
    ],
)
def test_damaged_entries_are_checkpoint_errors(
    models_dir: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = written(
        models_dir, tmp_path / "m", {"score": "msp", "threshold": 0.4, "rate": 0.05} | change
    )
    with pytest.raises(CheckpointError, match=f"manifest of {TINY[0]} is damaged"):
        zoo.read_manifest(TINY[0], folder)


@pytest.mark.parametrize("ood", [{"score": "msp"}, {"threshold": 1.0}, [1], "msp", 3])
def test_other_entries_are_checkpoint_errors(models_dir: Path, tmp_path: Path, ood: Any) -> None:
    with pytest.raises(CheckpointError, match="is damaged"):
        zoo.read_manifest(TINY[0], written(models_dir, tmp_path / "m", ood))


def with_thresholds(analysis: Analysis, *limits: float | None) -> Analysis:
    """The analysis by models that have these thresholds of the confidence."""
    models = tuple(
        dataclasses.replace(
            model,
            manifest=dataclasses.replace(
                model.manifest,
                ood={} if limit is None else {"score": "msp", "threshold": limit, "rate": 0.05},
            ),
        )
        for model, limit in zip(analysis.models, limits, strict=True)
    )
    return dataclasses.replace(analysis, models=models)


def test_the_page_and_its_export_hint_per_model(analysis: Analysis) -> None:
    view = panels.View(0)
    one = with_thresholds(analysis, 2.0, 0.0)
    assert panels.result(analysis, view).count(HINT) == 0
    assert panels.result(one, view).count(HINT) == 1
    assert panels.result(with_thresholds(analysis, 2.0, 2.0), view).count(HINT) == 2
    assert HINT in report.page(one, report.Origin("a.png"), css="")


def test_rest_says_which_model_finds_it_unfamiliar(analysis: Analysis) -> None:
    answer = analysis_response(with_thresholds(analysis, 2.0, None)).model_dump(mode="json")
    first, second = answer["models"]
    assert first["prediction"]["familiarity"] == {
        "score": "msp",
        "value": pytest.approx(first["prediction"]["confidence"], rel=1e-5),
        "threshold": 2.0,
        "rate": 0.05,
        "unfamiliar": True,
    }
    assert first["sweep"][0]["prediction"]["familiarity"]["unfamiliar"] is True
    assert second["prediction"]["familiarity"] is None


def test_a_new_manifest_has_no_threshold() -> None:
    assert tiny_manifest(TINY[0]).ood == {}


def test_the_command_line_hints_too(
    nls: Nls, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ood = {"score": "msp", "threshold": 2.0, "rate": 0.05}
    monkeypatch.setenv("NLS_MODELS_DIR", str(written(models_dir, tmp_path / "m", ood)))
    picture = tmp_path / "own.png"
    picture.write_bytes(picture_bytes())
    models = ["--baseline", TINY[0], "--candidate", TINY[1], "--epsilons", "1"]
    printed = nls("compare", str(picture), *models, "--output", str(tmp_path / "out.html")).out
    assert printed.count(HINT) == 1
    assert f"{TINY[0]}: {HINT}" in printed
