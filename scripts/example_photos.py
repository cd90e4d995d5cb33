"""The real photographs among the examples, from Debian packages unpacked into one folder.

    apt-get download fotoxx-common gcompris-qt-data lomiri-wallpapers-16.04 palapeli-data \\
        plasma-workspace-wallpapers python3-skimage python3-sklearn scratch tuxpaint-data
    for p in *.deb; do dpkg -x $p unpacked; done
    python scripts/make_examples.py --photos unpacked

PHOTOS says what was taken, by whom it is and on what terms; each stands in the package's copyright
file, or in the file that the entry names. They were chosen by eye, without any model, for a clear
licence and one plain subject. No training rendering uses them. Two show none of the classes: their
label is empty.
"""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

LONGEST = 800  # pixels
LARGEST = 150_000  # bytes
PACKAGES = {  # package -> version, where its files lie once unpacked
    "fotoxx-common": ("20.08-2", "usr/share/fotoxx/images"),
    "gcompris-qt-data": ("3.1-2", "usr/share/gcompris-qt/rcc"),
    "lomiri-wallpapers-16.04": ("20.04.0-2", "usr/share/backgrounds"),
    "palapeli-data": ("22.12.3-1", "usr/share/palapeli/collection"),
    "plasma-workspace-wallpapers": ("5.27.5-2", "usr/share/wallpapers"),
    "python3-skimage": ("0.19.3-8", "usr/lib/python3/dist-packages/skimage/data"),
    "python3-sklearn": ("1.2.1+dfsg-1", "usr/lib/python3/dist-packages/sklearn/datasets/images"),
    "scratch": ("1.4.0.6~dfsg1-6.1", "usr/share/scratch/Media/Backgrounds"),
    "tuxpaint-data": ("0.9.28-sdl2-1", "usr/share/tuxpaint/templates"),
}
CREDITS = """## photos/*.jpg

Photographs from Debian packages, scaled down where they are longer than 800 pixels and saved as
JPEG anew; nothing else is changed unless it is said below. Each keeps its own licence, not that of
this repository: public domain and CC0 ask for nothing; [CC BY 2.0], [CC BY 4.0], [CC BY-SA 3.0] and
[CC BY-SA 4.0] ask for the author's name and the licence, and BY-SA for the same terms; the GPL and
the LGPL let everybody pass on and change the pictures on their terms ([texts]). Authors and
licences of the pictures of gcompris-qt-data stand in the README files inside its resources, those
of python3-sklearn in `images/README.txt` (which links to vultilion for the flower but writes
danielbuechele), that of python3-skimage in `data/_fetchers.py`, Ian Hex's in `metadata.json` and
those of the citrus fruit in `citrus-fruits.desktop`. The licences of the others stand in the
packages' copyright files, Bill Kendrick's name also in `AUTHORS.txt`.

[CC BY 2.0]: https://creativecommons.org/licenses/by/2.0/
[CC BY 4.0]: https://creativecommons.org/licenses/by/4.0/
[CC BY-SA 3.0]: https://creativecommons.org/licenses/by-sa/3.0/
[CC BY-SA 4.0]: https://creativecommons.org/licenses/by-sa/4.0/
[texts]: https://www.gnu.org/licenses/

"""


@dataclass(frozen=True)
class Photo:
    """One picture: what it is called here, what it shows, where it is from, whose it is."""

    name: str
    label: str  # a class, or "" where it shows none
    title: str
    package: str
    file: str  # in a resource of gcompris-qt: resource.rcc:path
    author: str
    licence: str
    crop: tuple[int, int, int, int] | None = None

    def credit(self) -> str:
        """Author, licence, package, version and file."""
        note = "; a part of that picture" if self.crop else ""
        where = f"{self.package} {PACKAGES[self.package][0]}, {self.file}"
        return f"{self.author}, {self.licence}; {where}{note}"


GCOMPRIS = "gcompris-qt-data"
LOMIRI = "lomiri-wallpapers-16.04"
SCRATCH = "scratch"
FARM = "explore_farm_animals.rcc:explore_farm_animals/resource/animals"
THINGS = "categorization.rcc:categorization/resource/images"
MUSIC = "explore_world_music.rcc:explore_world_music/resource/music"
PHOTOS = (
    Photo(
        "cat-loliloli", "animal", "Cat", GCOMPRIS, f"{FARM}/cat.webp", "Loliloli", "public domain"
    ),
    Photo(
        "dog-kemperman",
        "animal",
        "Dog",
        GCOMPRIS,
        f"{FARM}/dog.webp",
        "Hans Kemperman",
        "public domain",
    ),
    Photo(
        "kingfisher-frank",
        "animal",
        "Kingfisher",
        GCOMPRIS,
        "erase.rcc:erase/resource/kingfisher.webp",
        "Frank-2.0",
        "CC0",
    ),
    Photo(
        "castle-cameralends",
        "building",
        "Castle",
        GCOMPRIS,
        "explore_monuments.rcc:explore_monuments/resource/germany/neuschwansteinCastle.webp",
        "cameralends",
        "CC0",
    ),
    Photo(
        "lighthouse-kendrick",
        "building",
        "Lighthouse",
        "tuxpaint-data",
        "lighthouse.jpg",
        "Bill Kendrick",
        "GPL-2+",
    ),
    Photo(
        "pagoda-danielbuechele",
        "building",
        "Pagoda",
        "python3-sklearn",
        "china.jpg",
        "danielbuechele",
        "CC BY 2.0",
    ),
    Photo(
        "clothes-rack-mit",
        "clothing",
        "Clothes on a rack",
        SCRATCH,
        "Indoors/clothing-store.jpg",
        "© 2011 Massachusetts Institute of Technology",
        "CC BY-SA 3.0",
        (0, 55, 190, 245),
    ),
    Photo(
        "citrus-usda",
        "food",
        "Citrus fruit",
        "palapeli-data",
        "citrus-fruits.jpg",
        "US Department of Agriculture",
        "public domain",
    ),
    Photo(
        "fig-freespace",
        "food",
        "Half a fig",
        LOMIRI,
        "Picture_0B_by_freespace.jpg",
        "Trevor “Freespace”",
        "CC BY 4.0",
    ),
    Photo(
        "chair-gencey",
        "household",
        "Chair",
        GCOMPRIS,
        f"{THINGS}/others/chair.webp",
        "Pierre Gencey",
        "public domain",
    ),
    Photo(
        "scissors-julo",
        "household",
        "Scissors",
        GCOMPRIS,
        f"{THINGS}/tools/scissors2.webp",
        "Julo",
        "public domain",
    ),
    Photo(
        "wall-clock-nerlich",
        "household",
        "Wall clock",
        LOMIRI,
        "greentock_by_Peter_Nerlich.jpg",
        "Peter Nerlich",
        "CC BY-SA 4.0",
    ),
    Photo(
        "drums-ritchards",
        "music",
        "Three drums",
        GCOMPRIS,
        f"{MUSIC}/africa.webp",
        "Kenneth Ritchards",
        "public domain",
    ),
    Photo(
        "guitar-drums-harpel",
        "music",
        "Guitar and drums",
        GCOMPRIS,
        f"{MUSIC}/america.webp",
        "Tom Harpel",
        "CC BY 2.0",
    ),
    Photo(
        "dahlia-vultilion",
        "plant",
        "Dahlia",
        "python3-sklearn",
        "flower.jpg",
        "vultilion",
        "CC BY 2.0",
    ),
    Photo(
        "dandelions-engelhardt",
        "plant",
        "Dandelions",
        LOMIRI,
        "seeding_by_Clements_Engelhardt.jpg",
        "Clemens Engelhardt",
        "CC0",
    ),
    Photo(
        "old-car-cornelison",
        "vehicle",
        "Old car",
        "fotoxx-common",
        "line-drawing.jpg",
        "Michael Cornelison",
        "GPL-3+",
        (280, 1, 510, 156),
    ),
    Photo(
        "boats-hex",
        "vehicle",
        "Rowing boats",
        "plasma-workspace-wallpapers",
        "EveningGlow/contents/images/2560x1600.jpg",
        "Ian Hex",
        "LGPL-3",
    ),
    Photo(
        "rocket-spacex",
        "vehicle",
        "Rocket",
        "python3-skimage",
        "rocket.jpg",
        "SpaceX",
        "public domain",
    ),
    Photo(
        "beach-mit",
        "",
        "Beach",
        SCRATCH,
        "Nature/beach-malibu.jpg",
        "© 2011 Massachusetts Institute of Technology",
        "CC BY-SA 3.0",
    ),
    Photo(
        "pebbles-kendrick",
        "",
        "Pebbles",
        "tuxpaint-data",
        "rocks.jpg",
        "Bill Kendrick",
        "GPL-2+",
    ),
)


def resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of a Qt resource file (uncompressed or zlib)."""
    if data[:4] != b"qres":
        raise ValueError("expected a Qt resource file")
    version, tree, contents, names = struct.unpack_from(">4i", data, 4)
    size = 14 if version == 1 else 22

    def walk(index: int, folder: str) -> Iterator[tuple[str, bytes]]:
        at = tree + index * size
        name, flags = struct.unpack_from(">ih", data, at)
        (length,) = struct.unpack_from(">H", data, names + name)
        start = names + name + 6
        path = folder + data[start : start + 2 * length].decode("utf-16be") if index else ""
        if flags & 2:  # a folder
            count, first = struct.unpack_from(">ii", data, at + 6)
            for child in range(first, first + count):
                yield from walk(child, f"{path}/" if path else "")
        else:
            (offset,) = struct.unpack_from(">i", data, at + 10)
            (stored,) = struct.unpack_from(">i", data, contents + offset)
            body = data[contents + offset + 4 : contents + offset + 4 + stored]
            yield path, zlib.decompress(body[4:]) if flags & 1 else body

    return walk(0, "")


def read(photo: Photo, root: Path) -> Image.Image:
    """The picture in its package."""
    file, _, inside = photo.file.partition(":")
    path = root / PACKAGES[photo.package][1] / file
    if not inside:
        return Image.open(path)
    found = [body for name, body in resources(path.read_bytes()) if name.endswith(f"/{inside}")]
    if len(found) != 1:
        raise SystemExit(f"{path}: expected one {inside}, found {len(found)}")
    return Image.open(BytesIO(found[0]))


def jpeg(picture: Image.Image) -> bytes:
    """A JPEG within the limits, as good as they allow."""
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    for quality in range(90, 50, -5):
        stream = BytesIO()
        picture.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= LARGEST:
            break
    return stream.getvalue()


def from_packages(root: Path, out: Path) -> list[dict[str, str]]:
    """Write the photographs; their entries for examples.json."""
    shutil.rmtree(out / "photos", ignore_errors=True)
    (out / "photos").mkdir(parents=True)
    entries = []
    for photo in PHOTOS:
        picture = read(photo, root)
        file = f"photos/{photo.name}.jpg"
        (out / file).write_bytes(jpeg(picture.crop(photo.crop) if photo.crop else picture))
        entries.append(
            {
                "file": file,
                "family": "photos",
                "label": photo.label,
                "title": photo.title,
                "credit": photo.credit(),
            }
        )
    return entries
