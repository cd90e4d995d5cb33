"""The model zoo: exact round trips, and no altered or unknown model ever loads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save

from nls_core import zoo
from nls_core.errors import CheckpointError, InvalidInput, UnknownModel
from nls_core.listing import CONFIG
from nls_core.settings import Settings
from nls_core.zoo import CARD, WEIGHTS, cards
from tests.conftest import TINY, make_model, tiny_manifest
from tests.helpers.scripts import script

SHIPPED = zoo.available(Settings().models_dir)


golden = script("make_golden")


@pytest.fixture
def models(models_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny models, to be damaged."""
    return Path(shutil.copytree(models_dir, tmp_path / "models"))


def change(models: Path, **entries: Any) -> None:
    """Alter entries of a manifest."""
    path = models / TINY[0] / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


# ---------------------------------------------------------------- storing and loading


@pytest.mark.parametrize("padding", ["zero", "partial"])
def test_a_model_comes_back_as_its_float16_rounding(padding: str, tmp_path: Path) -> None:
    net = make_model(seed=3, padding=padding).net
    model_id = f"tiny/ls-{padding}"
    stored = zoo.store(net, tiny_manifest(model_id), tmp_path)
    model, manifest = zoo.load(model_id, tmp_path)
    assert manifest == stored
    weights = (tmp_path / model_id / WEIGHTS).read_bytes()
    assert manifest.sha256 == hashlib.sha256(weights).hexdigest()
    for name, tensor in net.state_dict().items():
        got = model.net.state_dict()[name]
        assert got.dtype == tensor.dtype, name
        assert torch.equal(got, tensor.half().float() if tensor.is_floating_point() else tensor)
    on_disk = load_file(tmp_path / model_id / WEIGHTS)
    assert {t.dtype for t in on_disk.values()} == {torch.float16, torch.int64}


def test_storing_what_was_loaded_changes_no_byte(models: Path, tmp_path: Path) -> None:
    model, manifest = zoo.load(TINY[1], models)
    zoo.store(model.net, manifest, tmp_path / "again")
    for name in (WEIGHTS, CONFIG, CARD):
        path = Path(TINY[1]) / name
        assert (models / path).read_bytes() == (tmp_path / "again" / path).read_bytes()


def test_a_loaded_model_is_frozen_and_in_eval_mode(models_dir: Path) -> None:
    model, manifest = zoo.load(TINY[0], models_dir)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.mean.flatten().tolist() == list(manifest.mean)
    assert model.std.flatten().tolist() == list(manifest.std)
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_padding_is_the_manifests(models_dir: Path) -> None:
    for model_id in TINY:
        model, manifest = zoo.load(model_id, models_dir)
        kinds = {type(module).__name__ for module in model.modules()}
        assert ("PartialConv2d" in kinds) == (manifest.padding == "partial")


def test_the_setting_names_the_folder(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLS_MODELS_DIR", str(models_dir))
    assert zoo.load(TINY[0])[1].id == TINY[0]


def test_only_well_formed_ids_are_listed(models: Path) -> None:
    for name in ("tiny/Upper-Case", ".cache/ce-zero", "tiny/a b"):
        shutil.copytree(models / TINY[0], models / name)
    (models / "tiny" / "empty").mkdir()
    assert zoo.available(models) == TINY
    assert zoo.available(models / "none") == ()
    assert zoo.available(models, "tiny") == TINY
    assert zoo.available(models, "tin") == zoo.available(models, "*") == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])  # 1e5 overflows float16
def test_a_weight_that_is_not_finite_is_not_stored(value: float, tmp_path: Path) -> None:
    net = make_model().net
    net.head.weight.data[0, 0] = value
    with pytest.raises(CheckpointError, match=r"not finite in float16: \['head.weight'\]"):
        zoo.store(net, tiny_manifest(TINY[0]), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model_id", ["cifar-10/ce-zero", "a-b_c/nls_ls-partial", "7/7"])
def test_hyphens_and_digits_are_legal_in_both_parts(model_id: str, tmp_path: Path) -> None:
    zoo.store(make_model().net, dataclasses.replace(tiny_manifest(TINY[0]), id=model_id), tmp_path)
    assert zoo.available(tmp_path) == (model_id,)
    assert zoo.load(model_id, tmp_path)[1].family == model_id.split("/", maxsplit=1)[0]


@pytest.mark.parametrize(
    "model_id", ["-x/ce", "tiny/-ce", "../x", "x", "a/b/c", "tiny/../../x", "/etc/x", "tiny/Ce"]
)
def test_a_malformed_id_is_not_stored(model_id: str, tmp_path: Path) -> None:
    manifest = dataclasses.replace(tiny_manifest(TINY[0]), id=model_id)
    with pytest.raises(InvalidInput, match="expected an id like"):
        zoo.store(make_model().net, manifest, tmp_path / "models")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what must not load


@pytest.mark.parametrize(
    "model_id",
    [
        "",
        "/",
        "x",
        "../x",
        "a/b/c",
        "tiny/",
        "tiny/none",
        "tiny/..",
        "tiny/ce-zero/",
        "./tiny/ce-zero",
        "tiny/../tiny/ce-zero",
        "Tiny/ce-zero",
        "tiny/ce-zero\n",
        "tiny\\ce-zero",
        "tiny/ce-zero\0",
    ],
)
def test_unknown_and_malformed_ids(model_id: str, models_dir: Path) -> None:
    expected = r"unknown model .*; expected one of \['tiny/ce-zero', 'tiny/nls-partial'\]"
    with pytest.raises(UnknownModel, match=expected):
        zoo.load(model_id, models_dir)


def test_an_id_does_not_leave_the_folder(models: Path) -> None:
    shutil.copytree(models / "tiny", models.parent / "outside")
    with pytest.raises(UnknownModel):
        zoo.load("../outside/ce-zero", models)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data + b"\0",
    ],
)
def test_altered_weights_do_not_load(damage: Callable[[bytes], bytes], models: Path) -> None:
    path = models / TINY[0] / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="were altered: expected sha256"):
        zoo.load(TINY[0], models)
    assert zoo.load(TINY[1], models)[1].id == TINY[1]


def test_missing_weights_are_named(models: Path) -> None:
    (models / TINY[0] / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"be used: ce-zero/model\.safetensors is missing"):
        zoo.load(TINY[0], models)


@pytest.mark.parametrize("data", [b"", b"\x10\0\0\0\0\0\0\0{broken", save({"a": torch.ones(2)})])
def test_weights_that_are_no_such_model(data: bytes, models: Path) -> None:
    (models / TINY[0] / WEIGHTS).write_bytes(data)
    change(models, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(CheckpointError, match=r"are damaged|do not fit"):
        zoo.load(TINY[0], models)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"sha256": "0" * 64}, "were altered"),
        ({"arch": "smallresnet-16"}, "do not fit its manifest"),
        ({"arch": "vgg"}, "unknown architecture 'vgg'"),
        ({"padding": "mirror"}, "unknown padding 'mirror'"),
        ({"classes": list("abc")}, "do not fit its manifest"),
        ({"classes": ["a"]}, "classes: Tuple should have at least 2 items"),
        ({"channels": 3}, "a mean and a std for each of 3"),
        ({"channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3}, "do not fit its manifest"),
        ({"mean": 0.5}, "is damaged"),
        ({"std": [0.0]}, "std.0: .* greater than 0, got 0.0"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": "warm"}, "is damaged"),
        ({"input_size": 0}, "input_size: .* greater than or equal to 8, got 0"),
        ({"id": "tiny/ls-zero"}, "names another model: tiny/ls-zero"),
    ],
)
def test_an_altered_manifest_does_not_load(
    entries: dict[str, Any], says: str, models: Path
) -> None:
    change(models, **entries)
    with pytest.raises(CheckpointError, match=says):
        zoo.load(TINY[0], models)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"id": "tiny/ce-zero"}', "\udcff"])
def test_a_damaged_manifest_is_named(text: str, models: Path) -> None:
    (models / TINY[0] / CONFIG).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="manifest of tiny/ce-zero is damaged"):
        zoo.read_manifest(TINY[0], models)


def test_entries_of_a_later_schema_are_passed_over(models: Path) -> None:
    before = zoo.read_manifest(TINY[0], models)
    change(models, invented_later=[1, 2])
    assert zoo.read_manifest(TINY[0], models) == before


# ---------------------------------------------------------------- cards and tables


def test_the_card_holds_the_manifests_figures(models_dir: Path) -> None:
    for model_id in TINY:
        manifest = zoo.read_manifest(model_id, models_dir)
        text = (models_dir / model_id / CARD).read_text(encoding="utf-8")
        for name, value in manifest.metrics.items():
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            assert f"| {name} | {shown} |" in text
        assert manifest.sha256 in text
        assert f"{manifest.temperature:.4f}" in text
        assert ", ".join(manifest.classes) in text
        front = yaml.safe_load(text.split("---")[1])
        assert front["license"] == "mit"
        assert front["datasets"] == ["fashion-mnist"]
        assert "Zalando" in text  # the data's own licence asks for it


@pytest.mark.parametrize("model_id", SHIPPED)
def test_the_shipped_card_is_the_manifests_and_the_hub_reads_its_results(model_id: str) -> None:
    models_dir = Settings().models_dir
    manifest = zoo.read_manifest(model_id, models_dir)
    text = (models_dir / model_id / CARD).read_text(encoding="utf-8")
    assert text == cards.card(manifest)  # else scripts/make_cards.py has to run
    found = ModelCard(text).data.eval_results  # type: ignore[attr-defined]
    values = {each.metric_name: each.metric_value for each in found}
    assert values["accuracy"] == pytest.approx(manifest.metrics["accuracy"], abs=1e-6)
    assert values["ECE, 15 equal-width bins"] == pytest.approx(manifest.metrics["ece"], abs=1e-6)
    assert {each.task_type for each in found} == {"image-classification"}


def test_the_card_of_an_image_folder_names_no_path() -> None:
    recipe = {"dataset": "imagefolder:/home/me/pictures?size=32"}
    manifest = dataclasses.replace(tiny_manifest(TINY[0]), recipe=recipe)
    front = yaml.safe_load(cards.card(manifest).split("---")[1])
    assert front["datasets"] in ([], [None])
    assert "Zalando" not in cards.card(manifest)


def test_the_table_takes_models_without_figures() -> None:
    measured = tiny_manifest(TINY[0])
    bare = dataclasses.replace(measured, metrics={})
    head, first, second = zoo.summary([measured, bare])
    assert len(head) == len(first) == len(second)
    assert first[1] == f"{100 * measured.metrics['accuracy']:.2f}"
    assert first[4] == f"{measured.metrics['nll']:.4f}"
    assert second == [TINY[0], "-", "-", "-", "-", "1.500", "-"]


def test_measured_figures_replace_the_old() -> None:
    limits = {"miss": 0.05, "inside": 0.5, "abstain_below": 0.7}
    old = tiny_manifest(TINY[0])
    manifest = zoo.with_measured(old, {"accuracy": 1.0}, 2.5, {"plain": {}}, limits)
    found = (manifest.metrics, manifest.temperature, manifest.limits)
    assert found == ({"accuracy": 1.0}, 2.5, limits)


# ---------------------------------------------------------------- golden outputs


def assert_golden(model_id: str, models_dir: Path, folder: Path) -> None:
    path = golden.path_of(model_id, folder)
    assert path.exists(), f"{path.name} is missing: run scripts/make_golden.py"
    expected = json.loads(path.read_text(encoding="utf-8"))
    got = golden.record(model_id, models_dir)
    assert got["sha256"] == expected["sha256"], "other weights: run scripts/make_golden.py"
    logits = torch.tensor(expected["logits"])
    assert logits.shape == (golden.INPUTS, len(zoo.read_manifest(model_id, models_dir).classes))
    torch.testing.assert_close(torch.tensor(got["logits"]), logits, rtol=0, atol=1e-3)


@pytest.mark.parametrize("model_id", SHIPPED)
def test_shipped_models_answer_as_before(model_id: str) -> None:
    assert_golden(model_id, Settings().models_dir, golden.GOLDEN)


def test_no_golden_file_is_left_over() -> None:
    expected = {golden.path_of(model_id).name for model_id in SHIPPED}
    assert {path.name for path in golden.GOLDEN.glob("*")} == expected


def test_the_golden_comparison_notices_a_change(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    (folder / "tiny__gone.json").write_text("{}")
    written = golden.main(models, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in written)
    for model_id in TINY:
        assert_golden(model_id, models, folder)
    change(models, padding="partial")  # the same weights, computed in another way
    with pytest.raises(AssertionError, match="not close"):
        assert_golden(TINY[0], models, folder)
    model, manifest = zoo.load(TINY[1], models)
    model.net.head.weight[0] += 0.01
    zoo.store(model.net, manifest, models)
    with pytest.raises(AssertionError, match="other weights"):
        assert_golden(TINY[1], models, folder)
    golden.path_of(TINY[1], folder).unlink()
    with pytest.raises(AssertionError, match="is missing"):
        assert_golden(TINY[1], models, folder)
