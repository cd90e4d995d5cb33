"""Real apps over the tiny models, each started once for all tests that want its settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.served import PLACES, Served, serving


@pytest.fixture(scope="session")
def served(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real app, impatient."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, NLS_MODELS_DIR=str(models_dir), NLS_READ_SECONDS="2") as app:
        yield app


@pytest.fixture(scope="session")
def busy(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real app with few places."""
    folder = tmp_path_factory.mktemp("busy")
    settings = {"NLS_MODELS_DIR": str(models_dir), "NLS_MAX_QUEUE": str(PLACES)}
    with serving(folder, **settings, NLS_DEVICE="cpu") as app:
        yield app
