"""Make static/examples: the pictures that the page offers, with their labels and credits.

    python scripts/make_examples.py [--fashion DIR] [--stamps DIR] [--photos DIR] [--objects DIR]

Needs the Debian packages dataset-fashion-mnist, tuxpaint-stamps-default and librsvg2-bin. Without
--photos the photographs stay as they are, and without --objects the objects with masks;
scripts/example_photos.py and scripts/example_objects.py say how these folders are made. No
model has a say in the choice. From the test split of Fashion-MNIST come the first image of each
class, and of each pair of classes in CLOSE_PAIRS the two images with the smallest squared distance
between their pixels: hard ones. The drawings are laid on white with a margin, as in a shop.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import example_objects
import example_photos
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nls_core.data.datasets import FASHION_CLASSES

OUT = Path(__file__).resolve().parent.parent / "static" / "examples"
CLOSE_PAIRS = (("T-shirt/top", "Shirt"), ("Pullover", "Coat"), ("Sneaker", "Ankle boot"))
FASHION_CREDIT = "Fashion-MNIST, © 2017 Zalando SE, MIT"
DRAWINGS = {  # file in the package -> class, title, what the file says of itself
    "hikingboot": ("Ankle boot", "Hiking boot, drawn", "Jarno Vasamaa, public domain"),
    "t-shirt_01": ("T-shirt/top", "T-shirt, drawn", "public domain"),
    "black_dress": ("Dress", "Black dress, drawn", "Ying-Chun Liu, public domain"),
}
LONGEST = 400  # pixels of an example
MARGIN = 40  # pixels around it
QUALITY = 90  # of its JPEG
CREDITS = """# Credits of the examples

Made by `scripts/make_examples.py`, which states how they were chosen.

## fashion/*.png

Images of the test split of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747),
unchanged. Copyright 2017 Zalando SE, MIT licence:

> Permission is hereby granted, free of charge, to any person obtaining a copy of this software
> and associated documentation files (the "Software"), to deal in the Software without
> restriction, including without limitation the rights to use, copy, modify, merge, publish,
> distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
> Software is furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or
> substantial portions of the Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
> BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
> NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
> DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
> OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

## fashion/*.jpg

Drawings of the Open Clip Art Library, as the Debian package `tuxpaint-stamps-default` ships them
(`clothes/*.svg`); here drawn on white. Each SVG file states that it is in the public domain.

"""


def idx(path: Path, header: int) -> NDArray[np.uint8]:
    """The bytes of a gzipped idx file after its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def closest_pair(images: NDArray[np.uint8], one: Any, other: Any) -> tuple[int, int]:
    """Of two sets of indices (M,) and (N,) the two images with the closest pixels."""
    a, b = (images[i].reshape(len(i), -1).astype(np.float64) for i in (one, other))  # exact sums
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T  # (M, N)
    i, j = np.unravel_index(squared.argmin(), squared.shape)
    return int(one[i]), int(other[j])


def slug(label: str) -> str:
    """A class name as a file name."""
    return label.lower().replace("/", "-").replace(" ", "-")


def from_fashion_mnist(folder: Path) -> list[dict[str, str]]:
    """Write the images of the data set; their entries for examples.json."""
    images = idx(folder / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = idx(folder / "t10k-labels-idx1-ubyte.gz", 8)
    of_class = {name: np.flatnonzero(labels == k) for k, name in enumerate(FASHION_CLASSES)}
    chosen = [(int(of_class[name][0]), name, name) for name in FASHION_CLASSES]
    for pair in CLOSE_PAIRS:
        found = closest_pair(images, of_class[pair[0]], of_class[pair[1]])
        for index, name, other in zip(found, pair, pair[::-1], strict=True):
            chosen.append((index, name, f"{name}, much like {other}"))
    entries = []
    for index, name, title in chosen:
        file = f"fashion/{slug(name)}-{index:04}.png"
        Image.fromarray(images[index]).save(OUT / file, optimize=True)
        credit = f"{FASHION_CREDIT}; test image {index}"
        entries.append(entry(file, name, title, credit))
    return entries


def from_drawings(folder: Path, rsvg: str) -> list[dict[str, str]]:
    """Write the colour pictures; their entries for examples.json."""
    entries = []
    for stem, (label, title, credit) in DRAWINGS.items():
        options = ["--keep-aspect-ratio", f"--width={LONGEST}", f"--height={LONGEST}"]
        command = [rsvg, *options, str(folder / f"{stem}.svg")]
        png = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603
        drawing = Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGBA")
        paper = Image.new("RGBA", [edge + 2 * MARGIN for edge in drawing.size], "white")
        paper.alpha_composite(drawing, (MARGIN, MARGIN))
        file = f"fashion/{stem.replace('_', '-')}.jpg"
        paper.convert("RGB").save(OUT / file, quality=QUALITY, optimize=True)
        entries.append(entry(file, label, title, f"Open Clip Art Library; {credit}"))
    return entries


def entry(file: str, label: str, title: str, credit: str) -> dict[str, str]:
    """One picture in examples.json."""
    return {"file": file, "family": "fashion", "label": label, "title": title, "credit": credit}


def kept(masks: bool) -> list[dict[str, str]]:
    """The entries of the photographs, or of the objects with masks, as they are."""
    entries = json.loads((OUT / "examples.json").read_text(encoding="utf-8"))
    return [e for e in entries if e["family"] == "photos" and ("mask" in e) == masks]


def main() -> None:
    """Write every picture, examples.json and CREDITS.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fashion", type=Path, default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--stamps", type=Path, default="/usr/share/tuxpaint/stamps/clothes")
    parser.add_argument("--photos", type=Path, help="Debian packages, unpacked")
    parser.add_argument("--objects", type=Path, help="the data folder with everyday-objects")
    arguments = parser.parse_args()
    rsvg = shutil.which("rsvg-convert")
    if rsvg is None:
        raise SystemExit("rsvg-convert is not installed; expected the Debian package librsvg2-bin")
    shutil.rmtree(OUT / "fashion", ignore_errors=True)
    (OUT / "fashion").mkdir(parents=True)
    entries = from_fashion_mnist(arguments.fashion) + from_drawings(arguments.stamps, rsvg)
    photos, things = arguments.photos, arguments.objects
    entries += example_photos.from_packages(photos, OUT) if photos else kept(masks=False)
    entries += example_objects.from_data(things, OUT) if things else kept(masks=True)
    text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    (OUT / "examples.json").write_text(text, encoding="utf-8")
    credits = "".join(f"- `{e['file']}`: {e['credit']}\n" for e in entries)
    (OUT / "CREDITS.md").write_text(
        f"{CREDITS}{example_photos.CREDITS}{example_objects.CREDITS}## Each\n\n{credits}",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
