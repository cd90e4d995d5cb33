"""Make models/<family>/sample.npz: the test images that the app computes on without a data set.

    python scripts/make_sample.py [FAMILY]

Needs the family's data set. No model has a say in the choice: of each class the first images of
the test split, in its order; of a family that is measured out of fold the first objects, each in
its first test rendering. Fashion-MNIST is © 2017 Zalando SE, MIT licence; the objects are of
`tuxpaint-stamps-default`, GPL-2; static/examples/CREDITS.md and docs/photos.md have the texts.
"""

from __future__ import annotations

import sys

import numpy as np

from nls_core import families
from nls_core.data import objects, sample
from nls_core.data.datasets import Data, load
from nls_core.families import Family
from nls_core.settings import Settings

PER_CLASS, OBJECTS_PER_CLASS = 100, 20


def main(family: Family) -> None:
    """Write the sample of a family."""
    settings = Settings()
    path = sample.path_of(family.name, settings.models_dir)
    chosen = pictures(family, settings)
    sample.write(chosen, path)
    print(f"{path}: {len(chosen)} images, {path.stat().st_size:,} bytes")  # noqa: T201


def pictures(family: Family, settings: Settings) -> sample.Sample:
    """The first of each class."""
    name = family.recipe.dataset
    if family.protocol == families.OUT_OF_FOLD:
        shown: objects.Renderings | Data = objects.fixed(
            objects.COLLECTIONS[name](settings.data_dir)
        )
        per_class = OBJECTS_PER_CLASS
    else:
        shown, per_class = load(name, settings.data_dir, "test"), PER_CLASS
    images, labels = shown.images.numpy(), shown.labels.numpy()
    return sample.Sample(images, labels, np.arange(len(labels))).first(per_class)


if __name__ == "__main__":
    main(families.FAMILIES[sys.argv[1] if len(sys.argv) > 1 else next(iter(families.FAMILIES))])
