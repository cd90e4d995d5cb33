"""Ask a running app for each thing that it is there for: `python scripts/smoke.py URL`.

Needs nothing but Python. Prints a line for each question; the exit status is 1 if one fails.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

PICTURE = Path(__file__).parent.parent / "static/examples/fashion/bag-0018.png"
WAIT = 120  # seconds for an answer


def get(url: str, data: bytes | None = None, kind: str = "") -> str:
    """The body of an answer of status 200."""
    headers = {"Content-Type": kind} if data else {}
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - who runs it names it
    with urllib.request.urlopen(request, timeout=WAIT) as answer:  # noqa: S310
        body: bytes = answer.read()
    return body.decode("utf-8", "replace")


def analyze(url: str) -> dict[str, Any]:
    """The answer for a bundled picture by the first model that is served."""
    (first, *_) = json.loads(get(f"{url}/api/v1/models"))
    fields = {"models": first["id"], "epsilons": "none"}
    edge = uuid.uuid4().hex
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    parts += [head.encode(), PICTURE.read_bytes(), f"\r\n--{edge}--\r\n".encode()]
    kind = f"multipart/form-data; boundary={edge}"
    answer: dict[str, Any] = json.loads(get(f"{url}/api/v1/analyze", b"".join(parts), kind))
    return answer


# what is asked -> whether the answer is right
CHECKS: dict[str, Callable[[str], bool]] = {
    "alive": lambda url: json.loads(get(f"{url}/healthz"))["status"] == "alive",
    "ready": lambda url: json.loads(get(f"{url}/readyz"))["status"] == "ready",
    "analyzes": lambda url: 0 < analyze(url)["models"][0]["prediction"]["confidence"] <= 1,
    "page": lambda url: "NLS Lab" in get(f"{url}/ui/"),
    "findings": lambda url: "NLS Lab" in get(f"{url}/ui/findings"),
    "documentation": lambda url: "/api/v1/analyze" in get(f"{url}/docs"),
    "OpenAPI": lambda url: "paths" in json.loads(get(f"{url}/openapi.json")),
    "metrics": lambda url: "nls_requests_total" in get(f"{url}/metrics"),
    "llms.txt": lambda url: get(f"{url}/llms.txt").startswith("# NLS Lab"),
}


def ask(url: str) -> list[str]:
    """Ask everything; gives the names of what failed."""
    failed = []
    for name, check in CHECKS.items():
        begin, why = time.perf_counter(), "another answer than expected"
        try:
            fine = check(url)
        except (OSError, ValueError, LookupError, TypeError) as error:
            fine, why = False, f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - begin
        print(f"{name}: {'fine' if fine else why} ({seconds:.2f} s)")  # noqa: T201
        failed += [] if fine else [name]
    return failed


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/smoke.py URL, for example http://localhost:7860")
    sys.exit(1 if ask(sys.argv[1].rstrip("/")) else 0)
