"""What is measured of a model: once for the same weights, whole, and as the parts say it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nls_core import zoo
from nls_core.data import datasets
from nls_core.errors import CheckpointError, InvalidInput, UnknownName
from nls_core.evidence import collect, measure, robustness
from nls_core.evidence.collect import PARTS, Store
from nls_core.settings import Settings
from tests.conftest import TINY
from tests.helpers.command import noise_data
from tests.helpers.evidence import hurry
from tests.helpers.steps import separable


@pytest.fixture
def settings(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", noise_data)
    hurry(monkeypatch)
    return Settings(models_dir=models_dir, device="cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept")


def test_all_parts_of_all_models(settings: Settings, store: Store) -> None:
    group = collect.subjects(TINY, settings)
    told: dict[tuple[str, str], int] = {}

    def tell(model: str, part: str, done: int) -> None:
        told[model, part] = told.get((model, part), 0) + done

    got = collect.gather(group, list(PARTS), store, report=tell)
    assert set(got) == set(TINY)
    for name, each in got.items():
        subject = group[name]
        sizes = (len(subject.held), len(subject.test), len(subject.y))
        assert {p: n for (m, p), n in told.items() if m == name} == {
            part: collect.work(part, *sizes) for part in PARTS
        }
        found = collect.to_json(each)
        json.dumps(found, allow_nan=False)
        measured = measure.measure(subject.model, subject.held, subject.test)
        assert found["metrics"] == dict(measured.metrics)
        assert found["sha256"] == zoo.read_manifest(name, settings.models_dir).sha256
        logits = measure.predict(subject.model, subject.test.images).numpy()
        wanted = logits - logits.max(1, keepdims=True)
        np.testing.assert_allclose(each.arrays["logits"], wanted, atol=2e-3)
        assert set(found["robust"]) == {*robustness.MEANING}
        other = next(n for n in TINY if n != name)
        assert list(found["transfer"]) == [other]
        worst = found["robust"]["worst"]
        for case, values in found["robust"].items():
            assert all(w <= v for w, v in zip(worst, values, strict=True)), case
        assert found["masking"]["verdict"] in ("masking", "no sign")
        assert (found["masking"]["verdict"] == "masking") == bool(found["masking"]["signs"])
        assert set(found["maps"]) >= {"insertion_auc", "deletion_auc", "drift_cosine"}
        assert len(found["attacked"]["ece"]) == len(robustness.EPSILONS)


def test_what_was_measured_is_not_measured_again(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = collect.subjects(TINY[:1], settings)
    first = collect.gather(group, ["clean", "ood"], store)

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setitem(PARTS, "clean", refuse)
    again = collect.gather(group, ["clean"], store)
    assert again[TINY[0]].found["metrics"] == first[TINY[0]].found["metrics"]
    other = collect.subjects(TINY[1:], settings)
    with pytest.raises(AssertionError, match="measured again"):  # other weights
        collect.gather(other, ["clean"], store)


def test_a_damaged_part_is_named(settings: Settings, store: Store) -> None:
    group = collect.subjects(TINY[:1], settings)
    collect.gather(group, ["clean"], store)
    (kept,) = store.folder.rglob("clean.json")
    kept.write_text("{")
    with pytest.raises(CheckpointError, match=r"clean\.json is damaged: .*; remove"):
        collect.gather(group, ["clean"], store)


def test_an_interrupted_part_leaves_no_trace_that_looks_whole(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = collect.subjects(TINY[:1], settings)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(np, "savez_compressed", stop)
        with pytest.raises(KeyboardInterrupt):
            collect.gather(group, ["ood"], store)
    assert not list(store.folder.rglob("*.json"))
    assert collect.gather(group, ["ood"], store)[TINY[0]].found["ood"]


def test_a_surrogates_images_are_tried_on_all(settings: Settings, store: Store) -> None:
    group = collect.subjects(TINY[1:], settings)
    some = next(iter(group.values()))
    assert collect.surrogate(some, settings.models_dir / "none") == {}
    others = collect.surrogate(some, settings.models_dir)
    assert others["surrogate"].manifest.id == TINY[0]
    got = collect.gather(group, ["attacks"], store, others=others)[TINY[1]]
    made = store.part(others["surrogate"], "attacks", lambda n: None)[1]["crafted"]
    moved = robustness.transferred(some.model, torch.from_numpy(made), some.y)
    assert got.found["transfer"]["surrogate"] == moved.double().mean(1).tolist()


def test_alone_without_a_surrogate_there_is_no_transfer(settings: Settings, store: Store) -> None:
    group = collect.subjects(TINY[:1], settings)
    found = collect.gather(group, ["attacks"], store)[TINY[0]].found
    assert found["transfer"] == {}
    assert "transfer" not in found["robust"]
    assert "worst" in found["robust"]


def test_wrong_use(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.DATASETS, "separable", lambda *_: separable())
    with pytest.raises(InvalidInput, match="expects images of"):
        collect.subjects(TINY, settings, "separable")
    group = collect.subjects(TINY[:1], settings)
    with pytest.raises(UnknownName, match="unknown part 'magic'"):
        collect.gather(group, ["magic"], store)
