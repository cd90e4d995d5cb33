"""Requests that schemathesis makes of the app's own OpenAPI text, and what they are answered.

`python -m tests.helpers.described 500` sends 500 of each sort to an app over the shipped models,
and prints the answers as JSON; the tests send a few over tiny ones.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import schemathesis
import structlog
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.helpers.rest import ANALYZE

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
LEFT_OUT = ("mask", "target_class", "attack_target", "layer")  # they have to fit image and model
PATIENCE = 300  # seconds; a busy machine is no failure of the app
FORM = f"POST {ANALYZE}"


def operations(app: FastAPI) -> dict[str, Any]:
    """The operations of an app's text, by method and path."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    found = [result.ok() for result in schema.get_all_operations()]
    return {operation.label: operation for operation in found}


def fuzz(
    operation: Any,
    mode: GenerationMode,
    fixed: Mapping[str, Any] | None = None,
    absent: Sequence[str] = (),
    examples: int = 15,
) -> Counter[int]:
    """Send generated requests, some fields fixed or left out; gives the statuses seen.

    Raises:
        Exception: an answer that the text does not describe, or a failure of the server.
    """
    seen: Counter[int] = Counter()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    def run(case: Any) -> None:
        if fixed is not None:
            case.body = {k: v for k, v in case.body.items() if k not in absent} | fixed
        seen[case.call_and_validate(checks=CHECKS, timeout=PATIENCE).status_code] += 1

    run()
    assert seen
    return seen


def all_of(app: FastAPI, right: Mapping[str, Any], examples: int) -> dict[str, Counter[int]]:
    """Every operation as described; malformed forms; and forms around the right fields."""
    found, positive = operations(app), GenerationMode.POSITIVE
    seen = {name: fuzz(each, positive, examples=examples) for name, each in found.items()}
    negative = fuzz(found[FORM], GenerationMode.NEGATIVE, examples=examples)
    around = fuzz(found[FORM], positive, right, LEFT_OUT, examples)
    return seen | {f"{FORM}, malformed": negative, f"{FORM}, around a picture": around}


def main(examples: int) -> None:
    """Print what came of the shipped models' app."""
    os.environ.setdefault("NLS_ALLOWED_HOSTS", "testserver")
    os.environ.setdefault("NLS_RATE_LIMIT", "")
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)  # a line for each request goes to stdout else
    from nls_core.settings import Settings
    from nls_core.web.bench.visitors import picture
    from nls_core.web.rest.api import create_api

    right = {"image": picture(0), "models": "fashion/ce-zero", "epsilons": "2", "steps": 1}
    begin = time.monotonic()
    seen = all_of(create_api(Settings()), right, examples)
    answers = {
        name: {str(status): n for status, n in sorted(each.items())} for name, each in seen.items()
    }
    seconds = round(time.monotonic() - begin, 1)
    record = {"examples": examples, "seconds": seconds, "answers": answers}
    print(json.dumps(record, indent=2))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
