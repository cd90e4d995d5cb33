"""The Space's push, to a bare repository on this disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from nls_core.settings import ROOT
from tests.helpers.scripts import script

deploy_space = script("deploy_space")


def git(*arguments: str, folder: Path) -> str:
    return str(deploy_space.git(*arguments, folder=folder))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository like ours."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")
    folder = tmp_path / "source"
    for name in ("README.md", "Dockerfile", "app.py", "tests/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    git("init", "-q", "-b", "main", folder=folder)
    git("add", "-A", folder=folder)
    git("commit", "-qm", "one", folder=folder)
    return folder


def test_one_commit_of_what_a_space_needs_is_pushed(source: Path, tmp_path: Path) -> None:
    remote = tmp_path / "space.git"
    git("init", "-q", "--bare", str(remote), folder=tmp_path)
    for _ in range(2):  # the second replaces the first
        deploy_space.deploy(str(remote), space="me/lab", branch="main", source=source)
    assert git("rev-list", "--count", "main", folder=remote) == "1"
    files = git("ls-tree", "-r", "--name-only", "main", folder=remote).splitlines()
    assert files == ["Dockerfile", "README.md", "app.py"]
    front = yaml.safe_load(git("show", "main:README.md", folder=remote).split("---\n")[1])
    assert front["sdk"] == "docker"
    assert front["thumbnail"].startswith("https://huggingface.co/spaces/me/lab/resolve/main/")
    assert (ROOT / front["thumbnail"].partition("/main/")[2]).exists()
    assert git("log", "--format=%s", folder=source) == "one"


def test_what_is_not_committed_is_not_pushed(source: Path, tmp_path: Path) -> None:
    (source / "app.py").write_text("changed")
    with pytest.raises(SystemExit, match="clean working tree"):
        deploy_space.deploy(str(tmp_path), space=None, branch="main", source=source)


def test_a_remote_that_is_not_there_fails(source: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        deploy_space.deploy(str(tmp_path / "none"), space=None, branch="main", source=source)
