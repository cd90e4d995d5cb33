"""Damaged manifests, weights and reports: one clear line each, and the other models stay usable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from nls_core import files, zoo
from nls_core.data import sample
from nls_core.errors import CheckpointError, NLSLabError
from nls_core.evidence import out_of_fold, report, stored_runs, verdicts
from nls_core.listing import CONFIG
from nls_core.settings import ROOT
from nls_core.web.pages import family_reports
from nls_core.zoo import WEIGHTS
from tests.conftest import TINY

BAD, GOOD = TINY


@pytest.fixture
def models(models_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny models, to be damaged."""
    return Path(shutil.copytree(models_dir, tmp_path / "models"))


def diagram(**change: Any) -> dict[str, Any]:
    empty = [0.5, None]
    whole = {"edges": [0.0, 0.5, 1.0], "counts": [3, 0], "accuracy": empty, "confidence": empty}
    return {"plain": whole | {"low": empty, "high": empty} | change}


OOD = {"score": "msp", "threshold": 0.5, "rate": 0.05}
LIMITS = {"miss": 0.05, "inside": 0.5, "abstain_below": 0.7}
OPTIONAL = ("metrics", "reliability", "command", "created_with", "ood", "limits", "schema")
# entry -> values of which each makes the manifest unusable
CHANGES: dict[str, list[Any]] = {
    "input_size": [28.5, 28.0, 1e9, 10**9, 7, 0, -28, "28", None, True, [28]],
    "channels": [0, 2, 4, 1.0, "1", True, None],
    "classes": [[], ["a"], "abcdefghij", ["a"] * 10, [1, 2], [None, "b"], ["", "b"], {"a": 1}],
    "mean": [0.5, [], ["0.5"], [1e300], [None], [[0.5]]],
    "std": [[0.0], [-1.0], [1e300], "0.25"],
    "temperature": ["warm", 0, -1.0, 1e300, 1e-300, None, True, [1.5]],
    "preprocess": ["resize", "", None, ["fashion"], 1],
    "arch": ["vgg", "", ["smallresnet-8"], None, "__class__"],
    "padding": ["mirror", None, {"zero": 1}],
    "loss": ["mse", ["ce"], 3],
    "loss_parameters": [[], {"gamma": "0"}, {"gamma": None}, "gamma"],
    "sha256": ["", "0" * 63, "Z" * 64, None, 0],
    "seed": ["0", 0.5, None],
    "recipe": [[], "adam", {"dataset": 1}, {"dataset": ["fashion-mnist"]}],
    "metrics": [[], {"accuracy": "high"}, {"accuracy": [0.9]}, {"ece": {}}, {"images": True}],
    "reliability": [
        [],
        "plain",
        {"calibrated": {}},
        {"plain": {}},
        {"plain": []},
        {"plain": None},
        diagram(counts=[3]),
        diagram(counts=[-1, 0]),
        diagram(edges=[0.0, 0.5]),
        diagram(accuracy=[1.5, None]),
        diagram(low=["a", None]),
        diagram(more=[1, 2]),
        diagram(high=[[0.5], [0.5]]),
    ],
    "command": [None, ["nls"]],
    "created_with": [[], {"torch": 2.1}],
    "ood": [
        [],
        "msp",
        {"score": "msp"},
        OOD | {"score": "x"},
        OOD | {"score": ["msp"]},
        OOD | {"rate": 0},
        OOD | {"rate": "0.05"},
        OOD | {"threshold": None},
    ],
    "limits": [[], {"miss": 0.05}, LIMITS | {"inside": -1}, LIMITS | {"abstain_below": "x"}],
    "schema": [0, 2, "1", None],
    "id": ["tiny/ls-zero", "../etc/passwd", "", None, ["tiny/ce-zero"]],
}
DEEP = 100_000
# what stands in the file: text -> the bytes of another file
FILES: dict[str, Callable[[str], bytes]] = {
    "empty": lambda text: b"",
    "cut short": lambda text: text[: len(text) // 2].encode(),
    "a list": lambda text: b"[]",
    "a number": lambda text: b"3",
    "null": lambda text: b"null",
    "no entries": lambda text: b"{}",
    "more after it": lambda text: (text + "{}").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "UTF-8 with a mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "Latin-1": lambda text: text.replace('"a"', '"\xe9"').encode("latin-1"),
    "zeros": lambda text: bytes(len(text)),
    "a lone surrogate": lambda text: text.replace('"a"', '"\\ud800"').encode(),
    "a deep list": lambda text: with_entry(text, "recipe", "[" * DEEP + "]" * DEEP),
    "a deep object": lambda text: with_entry(text, "ood", '{"a":' * DEEP + "1" + "}" * DEEP),
    "only brackets": lambda text: b"[" * DEEP,
    "a deep unknown entry": lambda text: with_entry(text, "later", "[" * DEEP + "]" * DEEP),
    "NaN": lambda text: with_entry(text, "temperature", "NaN"),
    "infinite": lambda text: with_entry(text, "temperature", "1e999"),
    "NaN within": lambda text: with_entry(text, "recipe", '{"lr": NaN}'),
    "minus infinity within": lambda text: with_entry(text, "metrics", '{"nll": -Infinity}'),
    "a number of 10,000 digits": lambda text: with_entry(text, "seed", "9" * 10_000),
    "too large": lambda text: text.encode() + b" " * 1_000_000,
    "a key twice": lambda text: ('{"arch": "smallresnet-8",' + text.lstrip()[1:]).encode(),
    "comments": lambda text: b"// the manifest\n" + text.encode(),
}


def with_entry(text: str, key: str, value: str) -> bytes:
    entries = json.loads(text)
    entries[key] = "HERE"
    return json.dumps(entries).replace('"HERE"', value).encode()


def cases() -> list[Any]:
    changed = [
        pytest.param(lambda text, k=key, v=value: json.dumps({**json.loads(text), k: v}).encode(),
                     id=f"{key}={str(value)[:20]}")
        for key, values in CHANGES.items()
        for value in values
    ]  # fmt: skip
    missing = [
        pytest.param(lambda text, k=key: json.dumps(without(json.loads(text), k)).encode(),
                     id=f"no {key}")
        for key in CHANGES
        if key not in OPTIONAL
    ]  # fmt: skip
    return changed + missing + [pytest.param(each, id=name) for name, each in FILES.items()]


def without(entries: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if name != key}


def assert_one_line(text: str, secret: Path) -> None:
    assert len(text.splitlines()) == 1, text
    assert len(text) < 500, text
    assert str(secret) not in text


@pytest.mark.parametrize("damage", cases())
def test_a_damaged_manifest_is_one_line_and_takes_nothing_down(
    damage: Callable[[str], bytes], models: Path
) -> None:
    path = models / BAD / CONFIG
    path.write_bytes(damage(path.read_text(encoding="utf-8")))
    with pytest.raises(CheckpointError, match=f"manifest of {BAD}") as raised:
        zoo.read_manifest(BAD, models)
    assert_one_line(str(raised.value), models)
    states = zoo.verify(models)
    assert states == {BAD: str(raised.value), GOOD: None}


def test_the_mutations_are_at_least_forty() -> None:
    assert len(cases()) > 100


@pytest.mark.parametrize(
    "entries",
    [
        {"metrics": {}, "reliability": {}},
        {"reliability": diagram()},
        {"ood": OOD},
        {"limits": LIMITS},
        {"metrics": {"error_auroc": None}},
        {"temperature": 1, "mean": [0]},
        {"invented_later": {"a": [1]}},
        {"classes": ["é", "日本", "c", "d", "e", "f", "g", "h", "i", "<b>"]},
    ],
)
def test_what_is_right_is_still_read(entries: dict[str, Any], models: Path) -> None:
    path = models / BAD / CONFIG
    whole = json.loads(path.read_text(encoding="utf-8")) | entries
    path.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    assert zoo.verify(models) == dict.fromkeys(TINY)


# ---------------------------------------------------------------- what else is in the folder


def other_tensors(path: Path) -> bytes:
    return save({**load_file(path), "head.weight": torch.zeros(3, 3).half()})


def not_finite(path: Path) -> bytes:
    tensors = load_file(path)
    tensors["head.bias"][0] = float("nan")
    return save(tensors)


@pytest.mark.parametrize("make", [other_tensors, not_finite, lambda path: save({}), lambda p: b"x"])
def test_weights_that_fit_the_checksum_but_not_the_model(
    make: Callable[[Path], bytes], models: Path
) -> None:
    data = make(models / BAD / WEIGHTS)
    (models / BAD / WEIGHTS).write_bytes(data)
    path = models / BAD / CONFIG
    sha256 = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": sha256}))
    states = zoo.verify(models)
    assert states[GOOD] is None
    assert f"weights of {BAD}" in str(states[BAD])
    assert_one_line(str(states[BAD]), models)


def altered(folder: Path) -> None:
    path = folder / WEIGHTS
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def a_pipe(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)


def a_folder(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


def nowhere(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/nonexistent/file")


@pytest.mark.parametrize(
    "damage",
    [
        altered,
        lambda folder: (folder / WEIGHTS).unlink(),
        *(lambda folder, f=each: f(folder, WEIGHTS) for each in (a_pipe, a_folder, nowhere)),
        *(lambda folder, f=each: f(folder, CONFIG) for each in (a_pipe, a_folder)),
    ],
)
def test_a_model_that_cannot_be_read_is_named_and_the_others_serve(
    damage: Callable[[Path], None], models: Path
) -> None:
    damage(models / BAD)
    states = zoo.verify(models)
    assert states[GOOD] is None
    assert states[BAD]
    assert_one_line(str(states[BAD]), models)


def test_the_shipped_models_are_whole() -> None:
    states = zoo.verify(ROOT / "models")
    assert set(states.values()) == {None}
    assert len(states) >= 15


# ---------------------------------------------------------------- reports


DAMAGED_JSON = [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe{}", b'{"a":' * 99_999, b'{"a":1,"a":2}']
READERS: dict[str, Callable[[Path], object]] = {
    "fashion/report.json": lambda folder: family_reports.cells("fashion", folder),
    "fashion/search.json": lambda folder: verdicts.read("fashion", folder),
    "fashion/ablations.json": lambda folder: verdicts.read("fashion", folder),
    "fashion/raw/ce-zero/seed0.json": lambda folder: family_reports.load("fashion", folder),
    "photos/report.json": lambda folder: report.read("photos", folder),
    "photos/zero_shot.json": lambda folder: out_of_fold.reference(folder / "photos"),
}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped reports and raw results of one cell, without weights."""
    folder = tmp_path_factory.mktemp("shipped")
    for family in ("fashion", "photos"):
        (folder / family).mkdir()
        for path in (ROOT / "models" / family).glob("*.*"):
            shutil.copy(path, folder / family)
    kept = ROOT / "models" / "fashion" / "raw"
    shutil.copytree(kept / "ce-zero", folder / "fashion" / "raw" / "ce-zero")
    shutil.copy(kept / "labels.npz", folder / "fashion" / "raw")
    (folder / "photos" / "raw").mkdir()
    shutil.copy(ROOT / "models" / "photos" / "raw" / "labels.npz", folder / "photos" / "raw")
    return folder


def seem_changed(models_dir: Path) -> None:
    """Let reports be read anew, which are kept until the file changes."""
    for path in models_dir.glob("*/report.json"):
        os.utime(path)


@pytest.mark.parametrize("data", DAMAGED_JSON)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_report_is_one_line(name: str, data: bytes, shipped: Path) -> None:
    seem_changed(shipped)
    path = shipped / name
    whole = path.read_bytes()
    READERS[name](shipped)
    path.write_bytes(data)
    try:
        seem_changed(shipped)
        with pytest.raises(CheckpointError) as raised:
            READERS[name](shipped)
    finally:
        path.write_bytes(whole)
    assert "/".join(Path(name).parts[-2:]) in str(raised.value)
    assert_one_line(str(raised.value), shipped)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"cells": {}, "data": {"test_images": 1}},
        {"cells": [], "data": {"test_images": 1}},
        {"cells": {"ce-zero": 3}, "data": {"test_images": 1}},
        {"cells": {"ce-zero": {}}, "data": {"test_images": 1}},
        {"cells": {"ce-zero": {"metrics": []}}, "data": {"test_images": 1}},
        {"cells": {"ce-zero": {"metrics": {}}}},
    ],
)
def test_a_report_of_another_shape_is_refused(record: Any, tmp_path: Path) -> None:
    files.write_json(tmp_path / "tiny" / "report.json", record)
    with pytest.raises(CheckpointError, match=r"tiny/report\.json is damaged"):
        report.read("tiny", tmp_path)


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0x10
    return bytes(changed)


@pytest.mark.parametrize("name", ["raw/ce-zero/seed0.npz", "raw/labels.npz"])
@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: d[:-9], lambda d: b"PK", flipped])
def test_damaged_arrays_are_one_line(
    damage: Callable[[bytes], bytes], name: str, shipped: Path
) -> None:
    path = shipped / "fashion" / name
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    try:
        with pytest.raises(CheckpointError, match=r"\.npz is damaged") as raised:
            stored_runs.read(shipped / "fashion" / "raw")
    finally:
        path.write_bytes(whole)
    assert_one_line(str(raised.value), shipped)


@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: d[: len(d) // 2], flipped])
def test_a_damaged_sample_is_one_line(damage: Callable[[bytes], bytes], shipped: Path) -> None:
    path = sample.path_of("fashion", shipped)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    try:
        with pytest.raises(NLSLabError, match="missing or damaged") as raised:
            sample.read("fashion", shipped)
    finally:
        path.write_bytes(whole)
    assert_one_line(str(raised.value), shipped)


def test_arrays_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    files.write_arrays(path, a=np.zeros(3_000_000, np.uint8))
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="at most 1,000,000 bytes of arrays"):
        files.read_arrays(path, 1_000_000)
