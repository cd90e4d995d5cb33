"""The wheel: what it holds, and that it answers outside of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nls_core.settings import ROOT

ASK = """import json, nls_core
from starlette.testclient import TestClient
from nls_core.settings import Settings
from nls_core.web.rest.api import create_api
settings = Settings(device="cpu")
picture = settings.static_dir / "examples" / "fashion" / "bag-0018.png"
with TestClient(create_api(settings), base_url="http://localhost") as client:
    files = {"image": picture.read_bytes()}
    form = {"models": "fashion/nls-zero", "epsilons": "none"}
    answer = client.post("/api/v1/analyze", data=form, files=files).json()
print(json.dumps([nls_core.__file__, len(client.get("/api/v1/models").json()),
    answer["models"][0]["prediction"]["label"], str(settings.data_dir)]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy and unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("nls_core", "models", "static"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, copy_function=os.symlink, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"]
    pip += ["--no-build-isolation", "--no-index", "-q", "-w", str(folder), "."]
    subprocess.run(pip, cwd=source, check=True)
    (wheel,) = folder.glob("nls_lab-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "target")
    return folder / "target"


def test_the_wheel_holds_what_serving_needs_and_no_more(installed: Path) -> None:
    shipped = installed / "nls_core" / "shipped"
    assert (shipped / "models/fashion/nls-zero/model.safetensors").is_file()
    assert (shipped / "static/style.css").is_file()
    assert (installed / "nls_core/data/everyday_objects.json").is_file()
    assert not list(installed.rglob("seeds"))
    assert not (installed / "tests").exists()


def test_it_answers_outside_of_the_repository(installed: Path, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("NLS_")}
    env = {**own, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path, env=env, check=True, capture_output=True
    )
    where, models, label, data = json.loads(done.stdout.splitlines()[-1])
    assert Path(where).is_relative_to(installed)
    assert (models, label, data) == (17, "Bag", "data")
