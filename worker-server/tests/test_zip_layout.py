"""The bytes of a ZIP, read back by Python's zipfile, which shares no code with the writer."""

import io
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, strategies as st

from worker_server.api.zip_layout import Member, MemberChanged, ZipLayout

MOMENT = datetime(2026, 3, 4, 5, 6, 8, tzinfo=UTC)
NAMES = ("kurze Nächte.mp4", "снег/1.mp4", "a.json")


def opener(path: Path) -> BinaryIO:
    return path.open("rb")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> ZipLayout:
    folder = tmp_path_factory.mktemp("clips")
    members = []
    for number, name in enumerate(NAMES[:2]):
        content = bytes(range(256)) * (number + 1) * 1500
        path = folder / str(number)
        path.write_bytes(content)
        members.append(Member(name, MOMENT, path, len(content), zlib.crc32(content)))
    return ZipLayout([*members, Member.of_bytes(NAMES[2], MOMENT, b"{}\n")])


@pytest.fixture(scope="module")
def whole(layout: ZipLayout) -> bytes:
    return b"".join(layout.read(0, layout.size_bytes, opener))


def test_zipfile_reads_the_members(layout: ZipLayout, whole: bytes, tmp_path: Path) -> None:
    assert len(whole) == layout.size_bytes
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert tuple(archive.namelist()) == NAMES
        assert archive.read(NAMES[1]) == bytes(range(256)) * 3000
        infos = archive.infolist()
        assert {info.date_time for info in infos} == {(2026, 3, 4, 5, 6, 8)}
        assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
        modes = {(info.create_system, oct(info.external_attr >> 16)) for info in infos}
        assert modes == {(3, "0o100644")}  # of Unix: elsewhere they mean nothing
    (tmp_path / "a.zip").write_bytes(whole)
    listed = subprocess.run(
        ["python3", "-m", "zipfile", "-t", tmp_path / "a.zip"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "Done testing" in listed.stdout


@given(bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_any_range_is_that_part_of_the_whole(
    layout: ZipLayout, whole: bytes, bounds: tuple[float, float]
) -> None:
    start, end = sorted(int(share * layout.size_bytes) for share in bounds)
    assert b"".join(layout.read(start, end - start, opener)) == whole[start:end]


def test_digest_differs_with_name_and_content() -> None:
    def digest(name: str, content: bytes) -> str:
        return ZipLayout([Member.of_bytes(name, MOMENT, content)]).digest

    assert digest("a", b"1") == digest("a", b"1")
    assert len({digest("a", b"1"), digest("a", b"2"), digest("b", b"1")}) == 3


def test_file_shorter_than_announced(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(b"12345")
    layout = ZipLayout([Member("a.mp4", MOMENT, path, 6, 0)])
    with pytest.raises(MemberChanged):
        list(layout.read(0, layout.size_bytes, opener))


class Sparse(io.RawIOBase):
    """The whole ZIP as a file, of which only what is requested is made."""

    def __init__(self, layout: ZipLayout) -> None:
        self._layout = layout
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._layout.size_bytes}
        self._at = bases[whence] + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = self._layout.size_bytes - self._at
        size = left if size < 0 else min(size, left)
        chunk = b"".join(self._chunks(size))
        self._at += len(chunk)
        return chunk

    def _chunks(self, size: int) -> Iterator[bytes]:
        yield from self._layout.read(self._at, size, opener)


@pytest.mark.parametrize("gibibytes", [(3, 3), (5, 1)])
def test_beyond_four_gibibytes(tmp_path: Path, gibibytes: tuple[int, int]) -> None:
    """Zip64: an offset beyond 4 GiB, and a member longer than that."""
    members = []
    for number, size in enumerate(gibibytes):
        path = tmp_path / str(number)
        with path.open("wb") as file:
            file.truncate(size * 2**30)
        members.append(Member(f"{number}.mp4", MOMENT, path, size * 2**30, 0))
    layout = ZipLayout([*members, Member.of_bytes("last.txt", MOMENT, b"the last")])
    with zipfile.ZipFile(Sparse(layout)) as archive:
        assert [info.file_size for info in archive.infolist()] == [
            *(size * 2**30 for size in gibibytes),
            8,
        ]
        assert archive.read("last.txt") == b"the last"


def test_many_members() -> None:
    """More than 65,535, which needs Zip64 as well."""
    layout = ZipLayout([Member.of_bytes(f"{n}", MOMENT, b"") for n in range(65_600)])
    content = b"".join(layout.read(0, layout.size_bytes, opener))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(archive.namelist()) == 65_600
