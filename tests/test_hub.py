"""Models that travel: `from_pretrained`, `save_pretrained`, `push_to_hub`, and no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import hub_mixin

from nls_core import zoo
from nls_core.errors import CheckpointError
from nls_core.zoo import hub
from nls_core.zoo.hub import Model
from tests.conftest import TINY


def test_a_folder_is_read_and_written_again(models_dir: Path, tmp_path: Path) -> None:
    model = Model.from_pretrained(models_dir / TINY[0])
    wanted, manifest = zoo.load(TINY[0], models_dir)
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(model(x), wanted(x))
    assert model.manifest == manifest
    assert not any(weight.requires_grad for weight in model.parameters())
    model.save_pretrained(tmp_path / "again")
    assert {path.name for path in (tmp_path / "again").iterdir()} == set(hub.KEPT)
    again = Model.from_pretrained(tmp_path / "again")
    assert torch.equal(again(x), wanted(x))
    assert again.manifest == manifest


def test_what_is_pushed_is_a_folder_of_one_model(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, bytes] = {}

    class Api:
        def __init__(self, **_: Any) -> None: ...

        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, *, folder_path: Path, **_: Any) -> str:
            pushed.update({path.name: path.read_bytes() for path in Path(folder_path).iterdir()})
            return "pushed"

    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    Model.from_pretrained(models_dir / TINY[0]).push_to_hub("user/model")
    kept = {name: (models_dir / TINY[0] / name).read_bytes() for name in (zoo.WEIGHTS, zoo.CARD)}
    assert pushed.keys() == set(hub.KEPT)
    assert {name: pushed[name] for name in kept} == kept


def test_only_three_files_are_fetched(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repository: str, **how: Any) -> str:
        asked.update(how, repository=repository)
        return str(models_dir / TINY[1])

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    manifest = hub.take(hub.fetched("user/model", revision="v1"), tmp_path, "copied/model")
    assert asked == {
        "repository": "user/model",
        "revision": "v1",
        "allow_patterns": ["config.json", "model.safetensors", "README.md"],
    }
    assert zoo.read_manifest("copied/model", tmp_path) == manifest


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        hub.read(tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is damaged"):
        hub.read(tmp_path)
