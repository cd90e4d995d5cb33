"""ZIP files that strangers send: their members as bytes, one by one, within limits.

Nothing is written to the disk, and a member's name is a name: no path is made of it.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nls_core.errors import InvalidInput

MAX_ENTRIES = 2000  # folders and what is passed over included
MAX_DIRECTORY = 1_000_000  # bytes of the list of members, which is read whole
MAX_TOTAL = 200_000_000  # bytes of all members together, as their headers say
END = b"PK\x05\x06"  # the record at the end that says where that list is
END_BYTES, COMMENT_BYTES = 22, 65_535
LOCATOR = b"PK\x06\x07"  # of another such record, for more than 65,535 members
NESTED = (
    b"PK\x03\x04",
    b"Rar!",
    b"7z\xbc\xaf",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
HIDDEN = ("__MACOSX", ".", "Thumbs.db", "desktop.ini")  # what such names begin with is passed over


@dataclass(frozen=True)
class Member:
    """One file of an archive: its name without a folder, and the folder that it lies in, if any."""

    index: int
    name: str
    folder: str
    refused: str = ""  # why it cannot be read


def is_archive(path: Path) -> bool:
    """Whether a file begins as ZIP files do."""
    with path.open("rb") as file:
        return file.read(4) in (NESTED[0], END)


def members(path: Path) -> tuple[Member, ...]:
    """The files of an archive, in their order.

    Raises:
        InvalidInput: it is no ZIP file, or holds more than is read.
    """
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise InvalidInput(f"expected a ZIP file; got a damaged one: {error}") from error
    if len(infos) > MAX_ENTRIES:
        raise InvalidInput(f"expected at most {MAX_ENTRIES} files in a ZIP; got {len(infos)}")
    if (total := sum(info.file_size for info in infos)) > MAX_TOTAL:
        raise InvalidInput(
            f"expected at most {MAX_TOTAL:,} bytes in a ZIP, unpacked; got {total:,}"
        )
    found = (_member(i, info) for i, info in enumerate(infos) if not info.is_dir())
    return tuple(each for each in found if each is not None)


def _check_directory(path: Path) -> None:
    """Look at the size of the list before it is read: entries cost far more in memory."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - END_BYTES - COMMENT_BYTES - len(LOCATOR) - 16))
        tail = file.read()
    at = len(tail) - END_BYTES
    if not (at >= 0 and tail[at:].startswith(END) and tail.endswith(b"\0\0")):
        at = tail.rfind(END)
    if at < 0 or len(tail) < at + END_BYTES:
        raise InvalidInput("expected a ZIP file; got one without an end")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if size > MAX_DIRECTORY or LOCATOR in tail[max(0, at - 20) : at]:
        raise InvalidInput(f"expected at most {MAX_ENTRIES} files in a ZIP; got one of many more")


def _member(index: int, info: zipfile.ZipInfo) -> Member | None:
    parts = PurePosixPath(info.filename).parts
    refused = _refusal(info, parts)
    name = parts[-1] if parts else ""
    if not refused and (name.startswith(HIDDEN) or parts[0].startswith(HIDDEN[0])):
        return None
    folder = parts[-2] if len(parts) > 1 and not refused else ""
    return Member(index, name, folder, refused)


def _refusal(info: zipfile.ZipInfo, parts: Sequence[str]) -> str:
    if info.filename.startswith("/") or ".." in parts or "\\" in info.filename:
        return "its name is a path out of the archive"
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.compress_type not in METHODS:
        return "it is packed in another way than ZIP's usual one"
    return ""


def read(path: Path, member: Member, max_bytes: int) -> bytes:
    """One member's bytes.

    Raises:
        InvalidInput: it is refused, damaged, an archive itself, or larger than `max_bytes`.
    """
    if member.refused:
        raise InvalidInput(member.refused)
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.infolist()[member.index]
            with archive.open(info) as file:
                data = file.read(max_bytes + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise InvalidInput(f"it is damaged: {error}") from error
    except (OSError, IndexError) as error:
        raise InvalidInput("the ZIP file is not kept any more; upload it again") from error
    if len(data) > max_bytes:
        raise InvalidInput(f"expected at most {max_bytes:,} bytes; got more")
    if data.startswith(NESTED):
        raise InvalidInput("it is an archive: those within archives are not read")
    return data
