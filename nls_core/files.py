"""Files that must be whole: written whole or not at all, read with one clear line when damaged.

Writing goes to `<name>.partial`, then to the disk, then under the name: whoever reads, or pulls
the plug, finds the old content or the new one. A leftover of a killed process is overwritten by the
next write of the same file. Messages name a file by its last two parts: they may reach a page.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nls_core.errors import CheckpointError, NotWritten, brief

PARTIAL = ".partial"
SEAL = b"\nnls-lab sha256 "  # then 64 hex digits and a newline end a sealed file
MAX_JSON = 16_000_000  # bytes; the largest report has 0.3 million
MAX_ARRAYS = 1_000_000_000  # bytes, unpacked; the largest raw results have a few million
MAX_BYTES = 2_000_000_000  # of weights and checkpoints: 0.5 billion parameters


def shown(path: Path) -> str:
    """A file's name for messages: its folder and itself, nothing of the machine."""
    return "/".join(path.parts[-2:])


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file, or make it with its folder, whole or not at all.

    Raises:
        NotWritten: the disk is full, or the folder cannot be written; the old file is as it was.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave the new name without bytes
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise NotWritten(
            f"cannot write {shown(path)}: {error.strerror}; what was there before is unchanged; "
            "free some space or choose another folder"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk, where the system can (Windows opens no folders)."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: Any, indent: int | None = 1) -> None:
    """`write_bytes` of JSON that people can read, with a newline at its end."""
    write_text(path, json.dumps(data, indent=indent, ensure_ascii=False) + "\n")


def write_arrays(path: Path, /, **arrays: NDArray[Any]) -> None:
    """`write_bytes` of a compressed .npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def remove_partial(folder: Path) -> None:
    """Remove what writers that were killed left in a folder."""
    for path in folder.glob(f"*{PARTIAL}"):
        if not path.is_dir():
            path.unlink(missing_ok=True)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """A whole file.

    Raises:
        CheckpointError: it is missing, no file, unreadable, or has more than `limit` bytes.
    """
    try:
        if not path.exists():
            raise CheckpointError(f"{shown(path)} is missing")
        if not path.is_file():  # a pipe would wait for ever
            raise CheckpointError(f"{shown(path)} is missing: expected a file of that name")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise CheckpointError(
                    f"{shown(path)} is damaged: expected at most {limit:,} bytes, got {size:,}"
                )
            return file.read()
    except OSError as error:
        raise CheckpointError(f"{shown(path)} cannot be read: {error.strerror}") from error


def parse_json(data: bytes, *, finite: bool = True) -> Any:
    """Strict JSON in UTF-8: no key twice, not nested without end, numbers finite on demand.

    Raises:
        ValueError: it is not that; the message is one line.
    """
    number = _finite if finite else float
    try:
        return json.loads(
            data.decode(),
            object_pairs_hook=_no_key_twice,
            parse_constant=number,
            parse_float=number,
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8; {error.reason} at byte {error.start}") from None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"the key {counts.most_common(1)[0][0][:40]!r} is there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected finite numbers; got {text[:20]}")
    return value


def read_json(path: Path, kind: type = dict, limit: int = MAX_JSON) -> Any:
    """What a JSON file of figures holds; one that has no value, as of too few images, is NaN.

    Args:
        path: the file.
        kind: what it must hold: dict or list.
        limit: its largest size in bytes.

    Raises:
        CheckpointError: it is missing, too large, no JSON as `parse_json` takes it, or another
            kind; one line.
    """
    data = read_bytes(path, limit)
    try:
        found = parse_json(data, finite=False)
    except ValueError as error:
        raise CheckpointError(f"{shown(path)} is damaged: {brief(error)}") from error
    if not isinstance(found, kind):
        got = type(found).__name__
        raise CheckpointError(
            f"{shown(path)} is damaged: expected a JSON {kind.__name__}, got {got}"
        )
    return found


def read_arrays(path: Path, limit: int = MAX_ARRAYS) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name, never pickled ones.

    Raises:
        CheckpointError: it is missing or damaged, or its arrays have more than `limit` bytes.
    """
    data = read_bytes(path, limit)
    try:
        return parse_arrays(data, limit)
    except Exception as error:  # zlib, zipfile and the header's parser raise what they like
        raise CheckpointError(f"{shown(path)} is damaged: {brief(error)}") from error


def parse_arrays(data: bytes, limit: int) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz's bytes, never pickled ones; it raises whatever numpy does.

    Raises:
        ValueError: they have more than `limit` bytes.
    """
    # from memory: of a damaged file np.load leaves the handle open
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > limit:
        raise ValueError(f"expected at most {limit:,} bytes of arrays; got {size:,}")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """`write_bytes` of what `torch.save` makes of tensors and plain values, and its SHA-256.

    The seal stands at the end, where `torch.load` passes it over. The bytes are made in memory: on
    a full disk torch.save raises anything but OSError.
    """
    import torch  # noqa: PLC0415 - takes seconds, and most files are read without it

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getvalue()
    write_bytes(path, data + checksum(data))


def checksum(data: bytes) -> bytes:
    """What `write_checkpoint` appends to these bytes; of one length for all."""
    return SEAL + hashlib.sha256(data).hexdigest().encode() + b"\n"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: it is missing, was changed by so much as a bit, or has no seal.
    """
    data = read_bytes(path)
    length = max(len(data) - len(checksum(b"")), 0)
    content, seal = data[:length], data[length:]
    if not seal.startswith(SEAL):
        wrong: object = "no checksum at its end: it was cut short, or made by an older version"
    elif seal != checksum(content):
        wrong = "its checksum is of other bytes"
    else:
        import torch  # noqa: PLC0415 - as above

        try:
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
            return dict(state)
        except Exception as error:  # whole, but of another kind: nearly anything is raised
            wrong = brief(error, 100)
    raise CheckpointError(f"{shown(path)} is damaged ({wrong}); remove it to train anew")
