"""Fragmented MP4 (ISO/IEC 14496-12, 8.8) that ends within the header of a fragment.

A recorder that crashed leaves such a file. libavformat rejects it for the incomplete header, where
players show what comes before.
"""

import io
from pathlib import Path

_FRAGMENT = b"moof"


def whole_bytes(path: Path) -> int | None:
    """Return where the last fragment's header (`moof`) begins if the file ends within it."""
    size_bytes, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at + 8 <= size_bytes:
            file.seek(at)
            header = file.read(16)
            length = int.from_bytes(header[:4])
            if length == 1:
                length = int.from_bytes(header[8:16])
            if length < 8:
                return None
            if at + length > size_bytes:
                return at if header[4:8] == _FRAGMENT else None
            at += length
    return None


class FilePart(io.RawIOBase):
    """A file object of the bytes from `begin` up to, not including, `end` of a file."""

    def __init__(self, path: Path, begin: int, end: int) -> None:
        self.path, self._file = path, path.open("rb")
        self._begin, self._end = begin, end
        self._file.seek(begin)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._begin, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self._end}
        return self._file.seek(max(self._begin, base[whence] + offset)) - self._begin

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override] # narrower
        """Read into the buffer, up to the end of the part; return the count, 0 at the end."""
        data = self._file.read(max(0, min(len(buffer), self._end - self._file.tell())))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
