"""What is measured of a model: once for the same weights, whole, and as the parts say it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from nls_core import zoo
from nls_core.data import datasets
from nls_core.errors import CheckpointError, InvalidInput, UnknownName
from nls_core.evidence import collect, measure, parts, robustness
from nls_core.evidence.collect import Store
from nls_core.evidence.parts import PARTS
from nls_core.evidence.robustness import CASES, Case
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
    done: dict[tuple[str, str], int] = {}

    def progress(model: str, part: str, images: int) -> None:
        done[model, part] = done.get((model, part), 0) + images

    got = collect.gather(group, list(PARTS), store, progress=progress)
    assert set(got) == set(TINY)
    for name, each in got.items():
        subject = group[name]
        assert {p: n for (m, p), n in done.items() if m == name} == {
            name: part.images(subject) for name, part in PARTS.items()
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
            if case == robustness.AUTOATTACK:  # beside the worst, not part of it
                continue
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

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("measured again")

    monkeypatch.setitem(PARTS, "clean", replace(PARTS["clean"], run=refuse))
    again = collect.gather(group, ["clean"], store)
    assert again[TINY[0]].found["metrics"] == first[TINY[0]].found["metrics"]
    other = collect.subjects(TINY[1:], settings)
    with pytest.raises(AssertionError, match="measured again"):  # other weights
        collect.gather(other, ["clean"], store)


SETTINGS: dict[str, tuple[str, ModuleType, object]] = {
    "EPSILONS": ("attacks", robustness, (1 / 255,) * len(robustness.EPSILONS)),
    "FAR": ("attacks", robustness, 64 / 255),
    "MAP_EPSILON": ("maps", parts, 8 / 255),
    "MAP_IMAGES": ("maps", parts, 3),
    "SCHEMA": ("clean", collect, 99),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_with_another_setting_it_is_measured_anew(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    part, module, value = SETTINGS[name]
    group = collect.subjects(TINY[:1], settings)
    collect.gather(group, [part], store)
    monkeypatch.setattr(module, name, value)
    collect.gather(group, [part], store)
    assert len(list(store.folder.rglob(f"{part}*.json"))) == 2


def test_another_attack_setting_gives_its_own_images(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (subject,) = collect.subjects(TINY[:1], settings).values()

    def crafted(store: Store) -> Any:
        return store.part(subject, "attacks", lambda done: None)[1]["crafted"]

    before = crafted(store)
    monkeypatch.setitem(CASES, "pgd", Case("fgsm"))
    np.testing.assert_array_equal(crafted(store), crafted(Store(store.folder / "fresh")))
    assert (crafted(store) != before).any()


def test_a_data_set_that_changed_under_its_name_is_measured_anew(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def figures() -> Any:
        group = collect.subjects(TINY[:1], settings)
        return collect.gather(group, ["clean"], store)[TINY[0]].found["metrics"]

    def relabelled(*arguments: Any) -> datasets.Data:
        data = noise_data(*arguments)
        return replace(data, labels=(data.labels + 1) % 10)

    first = figures()
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", relabelled)
    assert figures() != first


def test_a_damaged_part_is_named(settings: Settings, store: Store) -> None:
    group = collect.subjects(TINY[:1], settings)
    collect.gather(group, ["clean"], store)
    (kept,) = store.folder.rglob("clean-*.json")
    kept.write_text("{")
    with pytest.raises(CheckpointError, match=r"clean-\w+\.json is damaged: .*; remove"):
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


@pytest.mark.parametrize("dataset", [None, "everyday-objects"])
def test_weights_are_not_measured_on_what_they_were_trained_on(dataset: str | None) -> None:
    with pytest.raises(InvalidInput, match="trained on all of everyday-objects"):
        collect.subjects(["photos/ce-zero"], Settings(device="cpu"), dataset)
