"""Many pictures through some models, one after another, so that others get their turns between.

Each picture is one analysis: decoded by our decoder, in the lane and within the limits of every
other one. What cannot be read is listed with its reason, and the rest goes on.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nls_core.analysis.analyzer import Analyzer
from nls_core.analysis.results import Analysis, AnalysisRequest, FlipPoint, Prediction
from nls_core.decode import archives
from nls_core.errors import InvalidInput, Overdue, QueueFull, shown
from nls_core.metrics import unfamiliar
from nls_core.types import Manifest

MAX_PICTURES = 200
LABELS = "labels.csv"  # beside the pictures: file name and class, in two columns
LABELS_BYTES = 1_000_000
THUMBNAIL = 72  # pixels of its longest edge
PATIENCE, PAUSE = 60, 1.0  # times to ask again where the queue is full, and seconds between
GONE = "expected a file, but it is no longer kept; upload it again"
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")  # what a folder is searched for


@dataclass(frozen=True)
class Source:
    """A picture to come: its name, what it is said to show ('' unknown), and how it is read."""

    name: str
    label: str
    read: Callable[[], bytes]  # raises InvalidInput


@dataclass(frozen=True)
class Answer:
    """What one model says of one picture; `unfamiliar` is None where its manifest has no limit."""

    prediction: Prediction
    flip: FlipPoint | None
    unfamiliar: bool | None


@dataclass(frozen=True)
class Row:
    """One picture: `truth` is the index of its class, None where it is not known."""

    name: str
    truth: int | None
    thumbnail: NDArray[np.uint8]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Batch:
    """What is known so far; `refused` holds names and reasons."""

    request: AnalysisRequest
    manifests: tuple[Manifest, ...]
    total: int
    rows: tuple[Row, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def done(self) -> int:
        """Pictures that need no further work."""
        return len(self.rows) + len(self.refused)


def sources(paths: Sequence[Path], max_bytes: int) -> list[Source]:
    """The pictures of some files: pictures, ZIP files of them, and a labels.csv.

    In ZIP files a picture's folder says what it shows, unless labels.csv does.

    Raises:
        InvalidInput: there is none, there are too many, or a ZIP file cannot be read.
    """
    found: list[Source] = []
    for path in paths:
        try:
            packed = archives.members(path) if archives.is_archive(path) else None
        except OSError as error:
            raise InvalidInput(GONE) from error
        if packed is not None:
            for each in packed:
                work = partial(archives.read, path, each, max_bytes)
                found.append(Source(each.name, each.folder, work))
        else:
            found.append(Source(path.name, "", partial(_read, path, max_bytes)))
    return _labelled(found)


def of_folder(folder: Path, max_bytes: int) -> list[Source]:
    """The pictures of a folder and the folders in it, whose names say what they show.

    Raises:
        InvalidInput: as `sources`.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix.lower() in ENDINGS or path.name == LABELS):
            label = "" if path.parent == folder else path.parent.name
            found.append(Source(path.name, label, partial(_read, path, max_bytes)))
    return _labelled(found)


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InvalidInput(GONE) from error
    if len(data) > max_bytes:
        raise InvalidInput(f"expected at most {max_bytes:,} bytes; got more")
    return data


def _labelled(found: list[Source]) -> list[Source]:
    """Without the files of labels, and with what they say."""
    labels: dict[str, str] = {}
    for each in found:
        if each.name == LABELS:
            labels |= _labels(each.read()[:LABELS_BYTES])
    pictures = [
        Source(each.name, labels.get(each.name, each.label), each.read)
        for each in found
        if each.name != LABELS
    ]
    if not pictures:
        raise InvalidInput("expected pictures, or a ZIP file of pictures; got none")
    if len(pictures) > MAX_PICTURES:
        raise InvalidInput(f"expected at most {MAX_PICTURES} pictures; got {len(pictures)}")
    return pictures


def _labels(data: bytes) -> Mapping[str, str]:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    except (ValueError, csv.Error) as error:
        raise InvalidInput(
            f"expected {LABELS} to be CSV in UTF-8, a file name and a class in each line; "
            f"it is not: {error}"
        ) from error
    return {Path(row[0].strip()).name: row[1].strip() for row in rows if len(row) > 1}


def run(
    analyzer: Analyzer, pictures: Sequence[Source], models: Sequence[str], *, flips: bool = True
) -> Iterator[Batch]:
    """What is known after each picture; whoever asks may stop at any time.

    Args:
        analyzer: answers, one picture at a time.
        pictures: from `sources` or `of_folder`.
        models: ids, all of one family.
        flips: whether to find each model's flip point.

    Raises:
        InvalidInput: no such models.
        CheckpointError, Departed: as `Analyzer.analyze`.
    """
    request = AnalysisRequest(tuple(dict.fromkeys(models)), epsilons=(), flip_point=flips)
    batch = Batch(request, tuple(map(analyzer.manifest, request.models)), len(pictures))
    classes = {name.lower(): i for i, name in enumerate(batch.manifests[0].classes)}
    yield batch
    for each in pictures:
        try:
            truth = _truth(each, classes)
            row = _row(each.name, truth, _patiently(analyzer, each.read(), request))
        except (InvalidInput, QueueFull, Overdue) as error:
            refused = (*batch.refused, (each.name, str(error)))
            batch = Batch(request, batch.manifests, batch.total, batch.rows, refused)
        else:
            rows = (*batch.rows, row)
            batch = Batch(request, batch.manifests, batch.total, rows, batch.refused)
        yield batch


def _truth(source: Source, classes: Mapping[str, int]) -> int | None:
    """The class that a label names; of a family that has no such class it says nothing."""
    return classes.get(source.label.lower())


def _patiently(analyzer: Analyzer, data: bytes, request: AnalysisRequest) -> Analysis:
    """An analysis; others come first where the queue is full."""
    for _ in range(PATIENCE):
        try:
            return analyzer.analyze(data, request)
        except QueueFull:
            time.sleep(PAUSE)
    return analyzer.analyze(data, request)


def _row(name: str, truth: int | None, analysis: Analysis) -> Row:
    small = Image.fromarray(analysis.picture)
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    answers = []
    for model in analysis.models:
        verdict = unfamiliar.judge(model.manifest.ood, model.prediction.logits, analysis.x)
        strange = None if verdict is None else verdict.unfamiliar
        answers.append(Answer(model.prediction, model.flip_point, strange))
    return Row(name, truth, np.asarray(small), tuple(answers))


def unknown_labels(pictures: Sequence[Source], classes: Sequence[str]) -> str:
    """A sentence on labels that name no class, or nothing."""
    known = {name.lower() for name in classes}
    strange = sorted({p.label for p in pictures if p.label and p.label.lower() not in known})
    if not strange:
        return ""
    names = ", ".join(shown(name, 40) for name in strange[:5])
    return f"No class is called {names}; these pictures count as unlabelled."
