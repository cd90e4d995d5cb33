"""One real app over the tiny models for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.served import Served, serving


@pytest.fixture(scope="module")
def served(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real app, impatient."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, NLS_MODELS_DIR=str(models_dir), NLS_READ_SECONDS="2") as app:
        yield app
