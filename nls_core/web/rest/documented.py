"""The examples of the OpenAPI text: what to ask for, and answers that the app gave.

`scripts/make_api_examples.py` writes the answers, of the shipped models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nls_core.types import Manifest

EXAMPLES = Path(__file__).with_name("examples.json")
Text = dict[str, Any]  # an OpenAPI text, which is changed in place


def answers(text: Text) -> None:
    """Add to each answer one that the app gave, where there is one."""
    for path, kept in json.loads(EXAMPLES.read_text(encoding="utf-8")).items():
        for operation in text["paths"][path].values():
            for status, body in kept.items():
                for content in operation["responses"][status]["content"].values():
                    content["example"] = body


def requests(text: Text, pair: tuple[str, str], manifest: Manifest) -> None:
    """Let the examples ask for models that are served, and for one of their classes.

    Args:
        text: of an app that serves `pair`.
        pair: two models of one family.
        manifest: of the first.
    """
    form = _body(text)["properties"]
    form["models"]["examples"] = [",".join(pair)]
    form["target_class"]["examples"] = [manifest.classes[0]]
    one = text["paths"]["/api/v1/models/{family}/{name}"]["get"]
    for parameter, part in zip(one["parameters"], pair[0].split("/"), strict=True):
        parameter["schema"]["examples"] = [part]


def _body(text: Text) -> Text:
    content = text["paths"]["/api/v1/analyze"]["post"]["requestBody"]["content"]
    name = content["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]
    body: Text = text["components"]["schemas"][name]
    return body
