"""Build the data set `everyday-objects` from the stamps of Debian's Tux Paint.

Which stamps belong to which class, and which are left out, stands in `everyday_objects.json`;
docs/photos.md says why. Only files of that package are read here, never an upload.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from PIL import Image

from nls_core import files
from nls_core.data.folds import FOLDS, NEAR, SEED, Stamp, fold, group, perceptual_hash
from nls_core.errors import CheckpointError, DatasetMissing, ExtraMissing, InvalidInput

SELECTION: dict[str, Any] = json.loads(
    Path(__file__).with_name("everyday_objects.json").read_text(encoding="utf-8")
)
NAME = "everyday-objects"
INDEX = "index.json"
SCHEMA = 1
PACKAGE = "tuxpaint-stamps-default"
STAMPS = Path("/usr/share/tuxpaint/stamps")
TWIN = re.compile(r"_(mirror|flip)(_flip|_mirror)?$")
LONGEST = 256  # pixels of a cut-out's longest edge
SMALLEST = 48  # of the longest edge; smaller stamps are left out
PHOTO_EDGE = 448  # pixels of a background photo's shorter edge
QUALITY = 90  # of its JPEG
DPI = 96.0  # of CSS: resvg takes sizes in points or centimetres for zero without it
MAX_PIXELS = 16_000_000  # of one SVG rendering


def find(folder: Path) -> list[Stamp]:
    """The chosen stamps below a folder, sorted by class and file.

    Mirrored twins are left out, and of a stamp in both formats the PNG.

    Raises:
        DatasetMissing: no such folder, or a class without stamps.
    """
    if not folder.is_dir():
        raise DatasetMissing(
            f"there is no folder {folder}; get it with: apt-get install {PACKAGE} (Debian), or "
            "name another with --stamps"
        )
    paths = [path for path in folder.rglob("*") if path.suffix in (".png", ".svg")]
    files = {path.relative_to(folder).as_posix() for path in paths}
    files = {file for file in files if not _left_out(file, files)}
    found = []
    for file in sorted(files):
        label = _label(file)
        if label is not None:
            name = file.rpartition(".")[0].replace("/", "-")
            kind = "drawing" if _matches(file, SELECTION["drawn"]) else "photo"
            found.append(Stamp(f"{label}/{name}", label, file, kind))
    bare = sorted(set(SELECTION["classes"]) - {stamp.label for stamp in found})
    if bare:
        raise DatasetMissing(f"{folder} has no stamps of {bare}; expected those of {PACKAGE}")
    return sorted(found, key=lambda stamp: stamp.name)


def _label(file: str) -> str | None:
    """The class whose longest pattern matches a file: a file's own name beats its folder."""
    lengths = {
        len(pattern): label
        for label, chosen in SELECTION["classes"].items()
        for pattern in chosen["stamps"]
        if fnmatchcase(file, pattern)
    }
    return lengths[max(lengths)] if lengths else None


def _left_out(file: str, files: set[str]) -> bool:
    stem, _, suffix = file.rpartition(".")
    twin = TWIN.search(stem) or (suffix == "png" and f"{stem}.svg" in files)
    return bool(twin) or _matches(file, SELECTION["left_out"])


def _matches(file: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(file, pattern) for pattern in patterns)


def cut_out(path: Path) -> Image.Image | None:
    """A stamp as RGBA, cropped to its alpha, its longest edge at most `LONGEST` pixels.

    Returns:
        The cut-out, or None where it shows nothing or is smaller than `SMALLEST`.

    Raises:
        InvalidInput: the file is damaged.
        ExtraMissing: an SVG, and resvg-py is not installed.
    """
    try:
        picture = _drawn(path) if path.suffix == ".svg" else _opened(path.read_bytes())
    except (ValueError, OSError, SyntaxError) as error:  # what resvg and Pillow raise
        raise InvalidInput(f"expected a whole image file; {path} is damaged: {error}") from error
    box = picture.getchannel("A").getbbox()
    if box is None or max(box[2] - box[0], box[3] - box[1]) < SMALLEST:
        return None
    picture = picture.crop(box).convert("RGBa")  # averages are weighted by alpha
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC)
    return picture.convert("RGBA")


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=["PNG"]).convert("RGBA")


def _drawn(path: Path) -> Image.Image:
    """An SVG whose drawing, not its page, is about `LONGEST` pixels long."""
    try:
        resvg = importlib.import_module("resvg_py")
    except ImportError as error:
        raise ExtraMissing("resvg-py is needed to draw SVG stamps", "photos") from error

    def at(width: int) -> Image.Image:  # the height follows; no fonts: the same everywhere
        options = {"dpi": DPI, "width": width, "skip_system_fonts": True}
        return _opened(bytes(resvg.svg_to_bytes(svg_path=str(path), **options)))

    page = at(LONGEST)
    box = page.getchannel("A").getbbox()
    if box is None:
        return page
    factor = LONGEST / max(box[2] - box[0], box[3] - box[1])
    factor = min(factor, (MAX_PIXELS / (page.width * page.height)) ** 0.5)
    return at(round(LONGEST * factor) + 1)


def find_photos() -> dict[str, list[Path]]:
    """The background photos on this machine, by Debian package; none for a missing one."""
    return {
        package: [Path(file) for file in entry["files"] if Path(file).is_file()]
        for package, entry in SELECTION["photos"].items()
    }


def build(
    data_dir: Path,
    folder: Path = STAMPS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Make `data_dir/everyday-objects`: cut-outs as PNG, background photos, and index.json.

    A folder that was made from the same files is left as it is.

    Args:
        data_dir: where data sets are kept.
        folder: the stamps of the Debian package.
        progress: called with the files done and their number.

    Returns:
        The content of index.json.

    Raises:
        DatasetMissing: the package is not installed.
        InvalidInput: a stamp is damaged.
        ExtraMissing: resvg-py is not installed.
    """
    stamps, photos = find(folder), find_photos()
    key = _key(stamps, folder, photos)
    out, partial = data_dir / NAME, data_dir / f"{NAME}.partial"
    kept = _kept(out / INDEX)
    if kept.get("key") == key:
        return kept
    shutil.rmtree(partial, ignore_errors=True)
    for label in SELECTION["classes"]:
        (partial / label).mkdir(parents=True)
    objects = _objects(stamps, folder, partial, progress)
    index = {
        "schema": SCHEMA,
        "key": key,
        "package": PACKAGE,
        "classes": list(SELECTION["classes"]),
        "objects": [asdict(stamp) for stamp in objects],
        "photos": _photos(photos, partial),
    }
    files.write_json(partial / INDEX, index)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return index


def _kept(path: Path) -> dict[str, Any]:
    """The index that is there; empty where there is none, or it is damaged."""
    try:
        index: dict[str, Any] = files.read_json(path)
    except CheckpointError:
        index = {}
    return index


def _key(stamps: Sequence[Stamp], folder: Path, photos: dict[str, list[Path]]) -> str:
    """What decides the outcome, as a digest: this recipe and the names and sizes of its files."""
    files = [folder / stamp.source for stamp in stamps] + [p for ps in photos.values() for p in ps]
    parts = [SCHEMA, SELECTION, LONGEST, SMALLEST, PHOTO_EDGE, QUALITY, FOLDS, SEED, NEAR]
    sizes = [(path.name, path.stat().st_size) for path in files]
    return hashlib.sha256(json.dumps([parts, sizes]).encode()).hexdigest()


def _objects(
    stamps: Sequence[Stamp], folder: Path, out: Path, progress: Callable[[int, int], None]
) -> list[Stamp]:
    """Write the cut-outs; the stamps that show something, with groups and folds."""
    kept, hashes = [], []
    for done, stamp in enumerate(stamps, start=1):
        picture = cut_out(folder / stamp.source)
        if picture is not None:
            picture.save(out / f"{stamp.name}.png", optimize=True)
            mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            hashes.append((perceptual_hash(picture), perceptual_hash(mirrored)))
            kept.append(stamp)
        progress(done, len(stamps))
    groups = group(kept, hashes)
    folds = fold([stamp.label for stamp in kept], groups)
    return [
        Stamp(**(asdict(stamp) | {"group": g, "fold": f}))
        for stamp, g, f in zip(kept, groups, folds, strict=True)
    ]


def _photos(photos: dict[str, list[Path]], out: Path) -> list[dict[str, Any]]:
    """Write the background photos; every fourth is kept for the test renderings."""
    (out / "backgrounds").mkdir()
    entries: list[dict[str, Any]] = []
    for package, paths in photos.items():
        for path in paths:
            file = f"backgrounds/{len(entries):02}.jpg"
            image = Image.open(path, formats=["JPEG"]).convert("RGB")
            factor = PHOTO_EDGE / min(image.size)
            edges = [round(edge * factor) for edge in image.size]
            image.resize((edges[0], edges[1]), Image.Resampling.BICUBIC, reducing_gap=3).save(
                out / file, quality=QUALITY
            )
            test = len(entries) % 4 == 3
            entries.append({"file": file, "package": package, "source": str(path), "test": test})
    return entries
