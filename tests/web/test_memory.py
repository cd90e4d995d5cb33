"""A hundred visitors: what the app holds of them is small."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from nls_core.web.bench.process import App, serving
from nls_core.web.bench.visitors import Visitor, own, picture

VISITORS = 100
KNOWN = 20  # after which nothing that all share is new


def look(app: App, like: Visitor, number: int) -> None:
    """A visitor who moves the slider; every twentieth compares a picture of their own."""
    visitor = like.another()
    slider = visitor.control("ε")
    slider["value"] = slider["step"] * (number % 4 + 1)
    visitor.event("show")
    if number % 20 == 0:
        own(visitor, picture(number))


@pytest.mark.app
def test_a_visitor_costs_less_than_a_megabyte(models_dir: Path) -> None:
    with serving(NLS_MODELS_DIR=str(models_dir), NLS_DEVICE="cpu", NLS_THREADS="1") as app:
        first = Visitor(app)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(partial(look, app, first), range(KNOWN)))
            begun = app.resident()
            list(pool.map(partial(look, app, first), range(KNOWN, VISITORS)))
        grown = app.resident() - begun
    assert begun < 1000, begun
    assert grown / (VISITORS - KNOWN) < 0.5, grown  # 40 MB; an analysis of a photo is 20
