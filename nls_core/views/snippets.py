"""An analysis as code that makes it again: curl, gradio_client, the command line, the library."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from nls_core.analysis.results import AnalysisRequest

# what needs no care in a shell, in curl's form fields and in Python
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._()-]{0,200}")


@dataclass(frozen=True)
class Told:
    """What a snippet says: the request, the picture's file, its class names, and the app's address.

    `file` is a name from `file_name`; `address` is where the app answers, without a last '/'.
    """

    request: AnalysisRequest
    file: str
    classes: Sequence[str]
    address: str

    def fields(self) -> dict[str, str]:
        """The fields of REST's form, without the picture."""
        request = self.request
        fields = {
            "models": ",".join(request.models),
            "cam": request.cam,
            "layer": request.layer or "",
            "attack": request.attack,
            "epsilons": ",".join(f"{e * 255:.10g}" for e in request.epsilons) or "none",
            "target_class": "" if (k := request.target_class) is None else self.classes[k],
            "attack_target": "" if (a := request.attack_target) is None else self.classes[a],
            "steps": str(request.steps),
            "seed": str(request.seed),
            "flip_point": str(request.flip_point).lower(),
        }
        return {name: value for name, value in fields.items() if value}


def file_name(name: str) -> str:
    """A file's name where it can stand in a snippet, else 'picture' and its ending."""
    if _PLAIN.fullmatch(name):
        return name
    ending = PurePath(name).suffix
    return f"picture{ending}" if _PLAIN.fullmatch(ending[1:]) else "picture"


def curl(told: Told) -> str:
    """A request to REST."""
    fields = {"image": f"@{told.file}"} | told.fields()
    forms = [shlex.quote(f"{name}={value}") for name, value in fields.items()]
    return _lines(["curl", *(f"-F {form}" for form in forms), f"{told.address}/api/v1/analyze"])


def gradio_client(told: Told) -> str:
    """A call of the page's endpoint `/analyze`."""
    fields = "".join(f"    {name}={value!r},\n" for name, value in _typed(told).items())
    return (
        "from gradio_client import Client, handle_file\n\n"
        f"answer = Client({told.address + '/ui'!r}).predict(\n"
        f"    image=handle_file({told.file!r}),\n{fields}"
        '    api_name="/analyze",\n'
        ")  # a dict, as REST answers\n"
        'for model in answer["models"]:\n'
        '    print(model["id"], model["prediction"]["label"], model["prediction"]["confidence"])'
    )


def _typed(told: Told) -> Mapping[str, object]:
    request = told.request
    typed = {"steps": request.steps, "seed": request.seed, "flip_point": request.flip_point}
    return told.fields() | typed


def command(told: Told, *, kind: str = "--json") -> str:
    """The command line; `kind` is what it is to write."""
    models, fields = told.request.models, told.fields()
    del fields["models"], fields["flip_point"]
    if "attack_target" in fields:
        fields["target"] = fields.pop("attack_target")
    options = [f"--{name.replace('_', '-')} {shlex.quote(v)}" for name, v in fields.items()]
    if not told.request.flip_point:
        options.append("--no-flip-point")
    return _lines(
        [
            f"nls compare {shlex.quote(told.file)}",
            f"--baseline {models[0]}",
            f"--candidate {models[min(1, len(models) - 1)]}",
            *(f"--more {each}" for each in models[2:]),
            *options,
            kind,
        ]
    )


def library(told: Told) -> str:
    """Python that computes by itself."""
    request = told.request
    epsilons = ", ".join(f"{e * 255:.10g} / 255" for e in request.epsilons)
    epsilons += "," if len(request.epsilons) == 1 else ""
    chosen = "".join(
        f"    {name}={k},  # {told.classes[k]}\n"
        for name in ("target_class", "attack_target")
        if (k := getattr(request, name)) is not None
    )
    return (
        "from pathlib import Path\n\n"
        "from nls_core.analysis.analyzer import Analyzer\n"
        "from nls_core.analysis.results import AnalysisRequest\n"
        "from nls_core.settings import Settings\n\n"
        "request = AnalysisRequest(\n"
        f"    models={request.models!r},\n"
        f"    cam={request.cam!r},\n"
        f"    layer={request.layer!r},\n"
        f"    attack={request.attack!r},\n"
        f"    epsilons=({epsilons}),  # in pixel units\n"
        f"{chosen}"
        f"    steps={request.steps},\n"
        f"    seed={request.seed},\n"
        f"    flip_point={request.flip_point},\n"
        ")\n"
        f"analysis = Analyzer(Settings()).analyze(Path({told.file!r}).read_bytes(), request)\n"
        "for model in analysis.models:\n"
        "    label = model.manifest.classes[model.prediction.index]\n"
        "    print(model.manifest.id, label, model.prediction.confidence)"
    )


def _lines(words: Sequence[str]) -> str:
    """A shell command, one option a line."""
    return " \\\n  ".join(words)


# what a person may copy, in the order of the page
SNIPPETS: Mapping[str, Callable[[Told], str]] = {
    "curl": curl,
    "gradio_client": gradio_client,
    "Command line": command,
    "Python": library,
}
