"""The container file: no engine runs here, so its agreement with the repository is tested."""

from __future__ import annotations

import re
import shlex

import yaml
from packaging.utils import canonicalize_name

from nls_core.settings import ROOT, Settings
from tests.helpers.scripts import script

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(name + " ")]


def test_everything_copied_exists_and_the_app_is_among_it() -> None:
    copied = [
        source
        for line in instructions("COPY")
        if "--from=" not in line
        for source in shlex.split(line)[:-1]
        if not source.startswith("--")
    ]
    assert {"app.py", "nls_core", "static", "models", "Makefile"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source


def test_it_installs_by_the_makefiles_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"make (\w+)", " ".join(instructions("RUN")))
    assert targets == ["install"]
    assert re.search(r"^install:", makefile, re.MULTILINE)


def test_what_is_installed_in_one_stage_is_all_that_the_other_takes() -> None:
    first, second = (line.split() for line in instructions("FROM"))
    assert first[0] == second[0] == "${BASE}"  # a digest may be given once for both
    assert instructions("ARG")[0] == "BASE=python:3.12-slim"
    place = set(instructions("WORKDIR"))  # of both: scripts of the environment name it
    assert place == {"/home/user/app"}
    taken = [line for line in instructions("COPY") if "--from=" in line]
    assert taken == [f"--from={first[2]} {place.pop()}/.venv .venv"]
    last = "\n".join(LINES).rpartition("FROM ")[2]
    assert "apt-get" not in last
    assert "pip" not in last


def test_its_versions_are_those_of_the_constraints() -> None:
    assert 'CONSTRAINTS="constraints.txt"' in instructions("ARG")
    assert 'CONSTRAINTS="${CONSTRAINTS}"' in " ".join(instructions("RUN"))


def test_the_constraints_hold_what_the_app_needs() -> None:
    pins = script("make_constraints")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    fixed = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert list(fixed) == sorted(fixed)
    for needed in pins.wanted():
        assert fixed[canonicalize_name(needed.name)] in needed.specifier, needed
    found = pins.closure()  # of what is installed here
    assert found["torch"]
    assert "starlette" in found  # of fastapi and gradio
    assert not any(name.startswith(("nvidia", "pytest")) for name in found)


def test_it_runs_as_uid_1000_on_the_apps_port_with_a_health_check() -> None:
    assert instructions("USER") == ["1000"]
    assert "--uid 1000" in " ".join(instructions("RUN"))
    assert instructions("EXPOSE") == [str(Settings.model_fields["port"].default)]
    assert "/healthz" in instructions("HEALTHCHECK")[0]
    assert "NLS_HOST=0.0.0.0" in instructions("ENV")[0]


def test_the_readme_opens_with_the_spaces_front_matter() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["sdk"] == "docker"
    assert str(front["app_port"]) == instructions("EXPOSE")[0]
    assert front["license"] == "mit"
    assert len(front["short_description"]) <= 60
    assert front["suggested_hardware"] == "cpu-basic"
    assert front["startup_duration_timeout"] == "10m"
    assert all(name.count("/") == 1 for name in (*front["models"], *front["datasets"]))
    assert "arxiv:2012.06876" in front["tags"]


def test_the_gradio_spaces_requirements_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block
    wanted = re.findall(r'"([^"]+)"', block.group(1))
    assert (ROOT / "requirements.txt").read_text(encoding="utf-8").split() == wanted
