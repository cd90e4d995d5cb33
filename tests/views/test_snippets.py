"""Code for a view; tests/browser/test_sharing.py runs it."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest

from nls_core.analysis.results import AnalysisRequest
from nls_core.views import snippets
from nls_core.views.snippets import Told

CLASSES = ("Bag", "Ankle boot")


def told(name: str = "a.png", **more: object) -> Told:
    request = AnalysisRequest(("x/ce-zero", "x/nls-zero"), target_class=1, **more)  # type: ignore[arg-type]
    return Told(request, snippets.file_name(name), CLASSES, "http://localhost:1")


def split(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", ""))


def test_every_setting_is_told() -> None:
    one = told(cam="layercam", layer="net.a", attack="fgsm", steps=3, seed=5, flip_point=True)
    words = split(snippets.curl(one))
    assert words[0] == "curl"
    assert words[-1] == "http://localhost:1/api/v1/analyze"
    assert words[2::2] == [
        "image=@a.png",
        "models=x/ce-zero,x/nls-zero",
        "cam=layercam",
        "layer=net.a",
        "attack=fgsm",
        "epsilons=1,2,4,8",
        "target_class=Ankle boot",
        "steps=3",
        "seed=5",
        "flip_point=true",
    ]
    command = split(snippets.command(one))
    assert command[command.index("--target-class") + 1] == "Ankle boot"
    assert "--no-flip-point" not in command
    assert "--no-flip-point" in snippets.command(told())
    for make in snippets.SNIPPETS.values():
        assert "layercam" in make(one)


@pytest.mark.parametrize("make", [snippets.gradio_client, snippets.library])
def test_python_compiles(make: Callable[[Told], str]) -> None:
    compile(make(told(epsilons=(1 / 255,))), "snippet", "exec")
    compile(make(told(attack_target=0)), "snippet", "exec")


def test_further_models_are_told() -> None:
    ids = ("x/ce-zero", "x/nls-zero", "x/ls-zero", "x/focal-zero")
    one = Told(AnalysisRequest(ids), "a.png", CLASSES, "http://localhost:1")
    command = split(snippets.command(one))
    assert command[command.index("--candidate") + 1] == "x/nls-zero"
    assert [command[i + 1] for i, word in enumerate(command) if word == "--more"] == [*ids[2:]]
    alone = Told(AnalysisRequest(ids[:1]), "a.png", CLASSES, "http://localhost:1")
    assert split(snippets.command(alone)).count("x/ce-zero") == 2


def test_the_class_that_an_attack_aims_at_is_told() -> None:
    one = told(attack_target=0)
    assert "attack_target=Bag" in split(snippets.curl(one))
    command = split(snippets.command(one))
    assert command[command.index("--target") + 1] == "Bag"
    assert "attack_target='Bag'" in snippets.gradio_client(one)
    assert "attack_target=0,  # Bag" in snippets.library(one)
    assert not any("attack_target" in make(told()) for make in snippets.SNIPPETS.values())


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("my dog (2).jpg", "my dog (2).jpg"),
        ("-rf.png", "picture.png"),
        ("a;type=b.png", "picture.png"),
        ("'); import os.gif", "picture.gif"),
        ("a\nb.$(id)", "picture"),
        ("", "picture"),
    ],
)
def test_a_hostile_name_is_not_written_into_code(name: str, safe: str) -> None:
    assert snippets.file_name(name) == safe
    assert split(snippets.curl(told(name)))[2] == f"image=@{safe}"
