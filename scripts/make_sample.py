"""Make models/<family>/sample.npz: the test images that the app computes on without a data set.

    python scripts/make_sample.py

Needs the Debian package dataset-fashion-mnist. No model has a say in the choice: of each class
the first 100 images of the test split, in the order of that split. Fashion-MNIST is © 2017
Zalando SE, MIT licence; static/examples/CREDITS.md holds its text.
"""

from __future__ import annotations

import numpy as np

from nls_core.data import sample
from nls_core.data.datasets import load
from nls_core.settings import Settings

PER_CLASS = 100


def main() -> None:
    """Write the sample of the family `fashion`."""
    settings = Settings()
    data = load("fashion-mnist", settings.data_dir, "test")
    everything = sample.Sample(
        data.images.numpy(), data.labels.numpy(), np.arange(len(data), dtype=np.int64)
    )
    path = sample.path_of("fashion", settings.models_dir)
    chosen = everything.first(PER_CLASS)
    sample.write(chosen, path)
    print(f"{path}: {len(chosen)} images, {path.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
