"""The `nls` command in tests: what it answered, over the tiny models and a data set of noise."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import torch

from nls_core.data.datasets import Data
from tests.helpers.steps import separable


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The message on stderr, one line and no more."""
        assert len(self.err.splitlines()) == 1, self.err
        return self.err.strip()


class Nls(Protocol):
    def __call__(self, *arguments: str) -> Ended: ...


def runner(
    models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Nls:
    """The `nls` command over the tiny models and a data set 'noise' that fits them."""
    from nls_core.cli import entry
    from nls_core.data import datasets

    monkeypatch.setenv("NLS_MODELS_DIR", str(models_dir))
    monkeypatch.setenv("NLS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NLS_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(datasets.DATASETS, "noise", noise_data)
    monkeypatch.setitem(datasets.DATASETS, "separable", lambda *_: separable())

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["nls", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, captured.out, captured.err)

    return run


def noise_data(folder: Path, split: str, download: bool) -> Data:
    generator = torch.Generator().manual_seed(len(split))
    images = torch.randint(0, 256, (50, 1, 28, 28), generator=generator).byte()
    labels = torch.randint(0, 10, (50,), generator=generator)
    return Data("noise", images, labels, tuple("abcdefghij"), "fashion")
