"""ZIP files that strangers send."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from nls_core.decode import archives
from nls_core.errors import InvalidInput

BIG = 10_000_000


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_members_come_with_their_folder_and_without_what_systems_add(tmp_path: Path) -> None:
    files = {
        "set/cat/a.png": b"1",
        "b.png": b"2",
        "set/dog/": b"",
        "__MACOSX/set/._a.png": b"3",
        "set/.DS_Store": b"4",
        "set/Thumbs.db": b"5",
    }
    path = packed(tmp_path / "a.zip", files)
    found = archives.members(path)
    assert [(m.name, m.folder) for m in found] == [("a.png", "cat"), ("b.png", "")]
    assert [archives.read(path, m, BIG) for m in found] == [b"1", b"2"]
    assert archives.is_archive(path)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("../../etc/a.png", b"x", "path out of the archive"),
        ("/etc/a.png", b"x", "path out of the archive"),
        ("a\\..\\b.png", b"x", "path out of the archive"),
        ("a.zip", b"PK\x03\x04 and so on", "archives are not read"),
        ("a.png", b"\x1f\x8b gzip", "archives are not read"),
        ("a.png", b"x" * 101, "at most 100 bytes"),
    ],
)
def test_a_bad_member_is_refused_alone(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    path = packed(tmp_path / "a.zip", {name: data, "good.png": b"good"})
    bad, good = archives.members(path)
    with pytest.raises(InvalidInput, match=why):
        archives.read(path, bad, 100)
    assert archives.read(path, good, 100) == b"good"


def test_a_bomb_costs_no_more_than_the_cap(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"zeros.png": bytes(50_000_000)})
    assert path.stat().st_size < 100_000
    (member,) = archives.members(path)
    with pytest.raises(InvalidInput, match="at most"):
        archives.read(path, member, BIG)
    many = packed(tmp_path / "b.zip", {f"{n}.png": bytes(30_000_000) for n in range(7)})
    with pytest.raises(InvalidInput, match="unpacked; got 210,000,000"):
        archives.members(many)


def test_too_many_members_are_refused_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {f"{n}": b"" for n in range(archives.MAX_ENTRIES + 1)}
    path = packed(tmp_path / "a.zip", many, zipfile.ZIP_STORED)
    with pytest.raises(InvalidInput, match="at most 2000 files"):
        archives.members(path)
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 1000)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(InvalidInput, match="many more"):
        archives.members(path)


def test_damaged_and_other_files_are_refused(tmp_path: Path) -> None:
    good = packed(tmp_path / "a.zip", {"a.png": b"x" * 1000}, zipfile.ZIP_STORED).read_bytes()
    for data in (b"", b"PK\x03\x04", b"\xff\xd8\xff", good[:-30], good[:40] + good[60:]):
        (tmp_path / "b.zip").write_bytes(data)
        with pytest.raises(InvalidInput):
            archives.read(tmp_path / "b.zip", archives.members(tmp_path / "b.zip")[0], BIG)
    (tmp_path / "c.zip").write_bytes(good.replace(b"xxxx", b"yyyy", 1))
    with pytest.raises(InvalidInput, match="damaged"):
        archives.read(tmp_path / "c.zip", archives.members(tmp_path / "c.zip")[0], BIG)


def test_an_encrypted_and_an_unusual_member_are_refused(tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {"a.png": b"x"}).read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    packed(tmp_path / "b.zip", {"a.png": b"x"}, zipfile.ZIP_LZMA)
    for name, why in (("a.zip", "encrypted"), ("b.zip", "packed in another way")):
        (member,) = archives.members(tmp_path / name)
        assert why in member.refused
        with pytest.raises(InvalidInput, match=why):
            archives.read(tmp_path / name, member, BIG)


def test_no_prefix_of_a_zip_file_raises_anything_else(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.zip", {"a.png": b"x" * 20, "b/c.png": b"y"}).read_bytes()
    path = tmp_path / "b.zip"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(InvalidInput):
            archives.members(path)
    assert zipfile.is_zipfile(io.BytesIO(whole))
