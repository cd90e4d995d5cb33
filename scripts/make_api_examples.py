"""Take the examples of the API's documentation from the app, into nls_core/web/rest/examples.json.

Each answer is one that the app, over two shipped models, gave to a request; problems are provoked:
by a server that takes less, is full, has no models, or damaged ones. Run it after a change of what
REST answers; a test compares.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from nls_core import files
from nls_core.settings import ROOT, Settings
from nls_core.web.rest.api import create_api
from nls_core.web.rest.documented import EXAMPLES

LOCAL = "http://localhost"
FAMILY, PAIR = "fashion", ("ce-zero", "nls-zero")
MODEL = f"{FAMILY}/{PAIR[0]}"
PICTURE = ROOT / "static/examples/fashion/sneaker-0009.png"
REQUEST = {"models": ",".join(f"{FAMILY}/{name}" for name in PAIR), "epsilons": "2"}
ONE, ANALYZE = "/api/v1/models/{family}/{name}", "/api/v1/analyze"
OPERATIONS = ("/api/v1/models", ONE, ANALYZE, "/healthz", "/readyz", "/metrics")
Kept = dict[str, dict[str, Any]]


def main() -> None:
    """Ask for all answers, and write them."""
    kept: Kept = {path: {} for path in OPERATIONS}
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder) / "few"
        for name in PAIR:
            shutil.copytree(ROOT / "models" / FAMILY / name, few / FAMILY / name)
        sound = Settings(models_dir=few, device="cpu", rate_limit="")
        _answers(kept, sound)
        _refusals(kept, sound)
        _troubles(kept, sound, Path(folder) / "none")
    for path, answers in kept.items():
        sys.stderr.write(f"{path}: {', '.join(answers)}\n")
    files.write_text(EXAMPLES, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _ask(client: TestClient, path: str, model: str = MODEL, **form: str) -> Any:
    if path != ANALYZE:
        family, _, name = model.partition("/")
        return client.get(path.format(family=family, name=name))
    picture = {"image": (PICTURE.name, PICTURE.read_bytes())}
    return client.post(path, data=REQUEST | form, files=picture)


def _keep(kept: Kept, path: str, answer: Any) -> None:
    text = answer.headers["content-type"].startswith("text/")
    body = "\n".join(answer.text.splitlines()[:12]) + "\n" if text else answer.json()
    kept[path].setdefault(str(answer.status_code), body)


def _answers(kept: Kept, settings: Settings) -> None:
    """What is answered where nothing is wrong."""
    with TestClient(create_api(settings), LOCAL) as client:
        for path in (ANALYZE, *OPERATIONS):
            _keep(kept, path, _ask(client, path))


def _refusals(kept: Kept, settings: Settings) -> None:
    """What is wrong with a request."""
    with TestClient(create_api(settings), LOCAL) as client:
        for path in (ONE, ANALYZE):
            _keep(kept, path, _ask(client, path, "fashion/nothing", models="fashion/nothing"))
        _keep(kept, ANALYZE, _ask(client, ANALYZE, cam="magic"))
        head = {"content-type": "multipart/form-data; boundary=x"}
        _keep(kept, ANALYZE, client.post(ANALYZE, content=b"no form", headers=head))
    small = settings.model_copy(update={"max_upload_bytes": 100})
    with TestClient(create_api(small, form_bytes=100), LOCAL) as client:
        _keep(kept, ANALYZE, _ask(client, ANALYZE))
    for path in OPERATIONS:
        often = settings.model_copy(update={"rate_limit": "1/minute"})
        with TestClient(create_api(often), LOCAL) as client:
            _ask(client, path)
            _keep(kept, path, _ask(client, path))


def _troubles(kept: Kept, settings: Settings, nothing: Path) -> None:
    """What is wrong with a server."""
    app = create_api(settings.model_copy(update={"max_queue": 1}))
    with TestClient(app, LOCAL) as client, app.state.analyzer.queue.place():
        for path in (ONE, ANALYZE):
            _keep(kept, path, _ask(client, path))
    nothing.mkdir()
    with TestClient(
        create_api(settings.model_copy(update={"models_dir": nothing})), LOCAL
    ) as client:
        _keep(kept, "/readyz", _ask(client, "/readyz"))
    app = create_api(settings)
    weights = settings.models_dir / MODEL / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with TestClient(app, LOCAL, raise_server_exceptions=False) as client:
        for path in (ONE, ANALYZE):
            _keep(kept, path, _ask(client, path))


if __name__ == "__main__":
    main()
