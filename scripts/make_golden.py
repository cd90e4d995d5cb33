"""Record what the shipped models say: tests/golden/<family>__<name>.json.

    python scripts/make_golden.py

Run it once after the models were trained again; tests/test_zoo.py compares every later state of
the code with these logits of four fixed inputs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nls_core import zoo
from nls_core.settings import ROOT, Settings
from nls_core.types import Manifest

GOLDEN = ROOT / "tests" / "golden"
INPUTS = 4


def path_of(model_id: str, folder: Path = GOLDEN) -> Path:
    """The golden file of a model."""
    return folder / f"{model_id.replace('/', '__')}.json"


def inputs(manifest: Manifest) -> torch.Tensor:
    """(4, C, H, W) float32 in [0, 1]: noise, smoothed more from one to the next."""
    size, rng = manifest.input_size, np.random.default_rng(0)
    images = rng.random((INPUTS, manifest.channels, size, size))
    for number in range(INPUTS):
        for _ in range(number):  # a wrapping 3x3 mean: plain sums, the same on every machine
            for axis in (1, 2):
                near = (np.roll(images[number], shift, axis) for shift in (-1, 0, 1))
                images[number] = sum(near) / 3
    return torch.from_numpy(images.astype(np.float32))


def record(model_id: str, models_dir: Path) -> dict[str, Any]:
    """The content of a golden file: sha256 of the weights, and logits to five decimals."""
    model, manifest = zoo.load(model_id, models_dir)
    logits = model(inputs(manifest))
    rows = [[round(value, 5) for value in row] for row in logits.tolist()]
    return {"id": model_id, "sha256": manifest.sha256, "logits": rows}


def main(models_dir: Path, folder: Path) -> list[Path]:
    """Write the golden files of all models in a folder, and drop those of models that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for model_id in zoo.available(models_dir):
        path = path_of(model_id, folder)
        path.write_text(json.dumps(record(model_id, models_dir)) + "\n", encoding="utf-8")
        written.append(path)
    for path in set(folder.glob("*.json")) - set(written):
        path.unlink()
    return written


if __name__ == "__main__":
    for made in main(Settings().models_dir, GOLDEN):
        print(made.relative_to(ROOT))  # noqa: T201
