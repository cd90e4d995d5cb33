"""The API in words: /docs as plain HTML made from the OpenAPI text.

FastAPI's own page would load scripts from outside.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from nls_core.web.edge import problems

Json = Mapping[str, Any]
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto 2rem;
padding: 0 1rem; overflow-wrap: anywhere } code, pre { font: 14px/1.4 ui-monospace, monospace }
a { color: inherit } pre { overflow-x: auto; padding: .6rem; border: 1px solid #8886;
border-radius: 6px; overflow-wrap: normal } .wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; min-width: 30rem } td, th { text-align: left;
vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #8886;
overflow-wrap: break-word } td:last-child { min-width: 15rem }
td pre { contain: inline-size; max-height: 30rem }
h2 { margin-top: 2.5rem } h2 code { font-weight: 400; display: block }
.nls-head { display: flex; align-items: center; gap: .3rem 1.6rem; padding: .5rem 0;
border-bottom: 1px solid #8886 } .nls-head a { text-decoration: none; white-space: nowrap }
.nls-brand { font-size: 1.25rem; font-weight: 700 } .nls-nav { display: flex; overflow-x: auto }
.nls-nav a { padding: .6rem .7rem .5rem; border-bottom: 3px solid transparent }
.nls-nav a[aria-current] { font-weight: 600; border-bottom-color: #0d9488 }
@media (max-width: 640px) { .nls-head { display: block } .nls-nav { flex-wrap: wrap } }"""
THEMES = ("light", "dark")  # of ?__theme=, as on the pages

WIDE = '<div class="wide" tabindex="0"><table>'
# for the page's security policy: this style sheet and no other
STYLE_HASH = f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"


def page(text: Json, base: str, *, header: str = "", theme: str = "") -> str:
    """An OpenAPI text as one HTML page.

    Args:
        text: what /openapi.json holds.
        base: where the app answers, for the curl commands.
        header: HTML that leads to the other pages.
        theme: one of `THEMES`; anything else is as the browser likes.
    """
    scheme = theme if theme in THEMES else " ".join(THEMES)
    if theme in THEMES:  # goes along, as on the pages
        header = re.sub(r'href="([^"#?]+)"', rf'href="\1?__theme={theme}"', header)
    info = text["info"]
    routes = "".join(
        _operation(text, base.rstrip("/"), path, method)
        for path, methods in text["paths"].items()
        for method in methods
    )
    kinds = "".join(
        f'<tr id="{_anchor(kind)}"><td>{escape(kind.title)}</td><td>{kind.status}</td>'
        f"<td>{escape(kind.__doc__ or '')}</td></tr>"
        for kind in problems.error_types()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="{scheme}">'
        f"<title>{escape(info['title'])} API</title><style>{STYLE}</style></head><body>{header}"
        f"<main><h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p><a href="/ui">The page</a> · <a href="/openapi.json">/openapi.json</a></p>'
        "<p>In the commands, put the address of this page for "
        f"<code>{escape(base.rstrip('/'))}</code>.</p>"
        f"{routes}<h2>Problems</h2><p>The <code>type</code> of an error leads here.</p>"
        f'<div class="wide" tabindex="0"><table><tr><th>title</th><th>status</th><th>meaning</th>'
        f"</tr>{kinds}</table></div></main></body></html>"
    )


def _anchor(kind: type[Any]) -> str:
    return escape(problems.problem_type(kind).partition("#")[2], quote=True)


def _operation(text: Json, base: str, path: str, method: str) -> str:
    operation = text["paths"][path][method]
    fields = list(_fields(text, operation))
    rows = "".join(_field_row(*field) for field in fields)
    head = "<tr><th>name</th><th>in</th><th>values</th><th>meaning</th></tr>"
    answers = "".join(
        _answer(text, status, answer) for status, answer in operation["responses"].items()
    )
    return (
        f"<section><h2>{escape(operation.get('summary', ''))} <code>{method.upper()} {escape(path)}"
        "</code></h2>"
        f"<p>{escape(operation.get('description', ''))}</p>"
        f"{f'{WIDE}{head}{rows}</table></div>' if rows else ''}"
        f"<pre tabindex=0>{escape(_curl(base, path, method, fields))}</pre>"
        f"{WIDE}<tr><th>status</th><th>answer</th></tr>{answers}</table></div></section>"
    )


def _fields(text: Json, operation: Json) -> Iterator[tuple[str, str, bool, Json]]:
    """Name, place, whether required, and schema of every parameter and form field."""
    for parameter in operation.get("parameters", ()):
        yield parameter["name"], parameter["in"], parameter["required"], parameter["schema"]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        body = _resolve(text, content["schema"])
        for name, schema in body["properties"].items():
            yield name, "form", name in body.get("required", ()), schema


def _resolve(text: Json, schema: Json) -> Json:
    """Follow a reference into the components."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Json = text["components"]["schemas"][name] if name else schema
    return found


def _field_row(name: str, place: str, required: bool, schema: Json) -> str:
    bounds = [f"{schema[key]:.0f}" for key in ("minimum", "maximum") if key in schema]
    values = " · ".join(map(str, schema.get("enum", ()))) or " to ".join(bounds)
    default = "required" if required else f"default {schema.get('default')}"
    if not required and schema.get("default") is None:
        default = "optional"
    meaning = schema.get("description", "")
    cells = (f"{name} ({default})", place, values, meaning)
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _curl(base: str, path: str, method: str, fields: list[tuple[str, str, bool, Json]]) -> str:
    """A command to try an operation with its examples."""
    verb = "" if method == "get" else f"-X {method.upper()} "
    parts = [f"curl {verb}{base}{path}"]
    for name, place, required, schema in fields:
        examples = schema.get("examples", [])
        if place == "form" and (required or examples[:1] not in ([], [schema.get("default")])):
            value = examples[0] if examples else "@photo.jpg"
            parts.append(f"-F {name}={str(value).lower() if value is True else value}")
        if place == "path" and examples:
            parts[0] = parts[0].replace(f"{{{name}}}", examples[0])
    return " \\\n  ".join(parts)


def _answer(text: Json, status: str, answer: Json) -> str:
    shown = ""
    for kind, content in answer.get("content", {}).items():
        schema = _resolve(text, content.get("schema", {}))
        shown += f"<br><code>{escape(kind)}</code> {escape(_title(text, schema))}"
        notes = {"fields": _meanings(text, schema), "example": content.get("example")}
        for label, value in notes.items():
            if value:
                plain = isinstance(value, str)
                pretty = escape(value if plain else json.dumps(value, indent=2, ensure_ascii=False))
                shown += (
                    f"<details><summary>{label}</summary><pre tabindex=0>{pretty}</pre></details>"
                )
    return f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}{shown}</td></tr>"


def _title(text: Json, schema: Json) -> str:
    """What a schema is called; of a list, what it holds."""
    if "items" in schema:
        return f"list of {_title(text, _resolve(text, schema['items']))}"
    return str(schema.get("title", ""))


def _meanings(text: Json, schema: Json) -> Any:
    """The fields of a schema as nested names with their meanings."""
    schema = _resolve(text, schema)
    if "items" in schema:
        inner = _meanings(text, schema["items"])
        return [inner] if isinstance(inner, dict) else schema.get("description", "list")
    if "properties" not in schema:
        return schema.get("description") or schema.get("type", "value")
    return {
        name: _described(_meanings(text, inner), inner)
        for name, inner in schema["properties"].items()
    }


def _described(meaning: Any, schema: Json) -> Any:
    """Prefer a field's own description to the type of its values."""
    return schema.get("description", meaning) if isinstance(meaning, str) else meaning
